"""Singular values and gains inside the proxy's run: what they are, what they cost, and that a resume repeats them."""

import math
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mupwd.diagnostics.sublayers import sublayer_gains
from mupwd.paths import named_leaves
from mupwd.proxy import Hyper, Program, ProxyConfig, TrainConfig, Trainer, TrainState, family, recorder
from mupwd.proxy.checkpoint import Checkpoints
from mupwd.proxy.metrics_log import read_metrics, series
from mupwd.transfer import steady_state

# Most matrices of one shape, which are observed together: it compiles sooner.
PROXY = ProxyConfig(layers=1, mlp_ratio=1.0)
TRAIN = TrainConfig(
    steps=24, warmup=2, batch_size=2, sequence_length=16, log_every=5, eval_batches=1, observe_every=2,
    checkpoint_every=8,
)  # fmt: skip
TUNED = {"learning_rate": 2**-6, "weight_decay": 2.0, "seed": 3}
QUERY = "spectral/layers/0/attention/q/kernel/sigma_1"


@pytest.fixture(scope="module")
def trainer(text_corpus):
    return Trainer(32, proxy=PROXY, train=TRAIN, corpus=text_corpus, progress=False)


@pytest.fixture(scope="module")
def whole(trainer, tmp_path_factory):
    directory = tmp_path_factory.mktemp("observed") / "run"
    return trainer.run(**TUNED, directory=directory), directory


def without_times(records):
    return [{k: v for k, v in one.items() if k not in ("time", "train/tokens_per_second")} for one in records]


def test_every_matrix_and_sublayer_is_recorded_after_the_steps_that_were_asked_for(whole, trainer):
    _, directory = whole
    records = read_metrics(directory)
    assert [record["step"] for record in records] == sorted(record["step"] for record in records)
    for path, one in trainer.plan.items():
        if len(one.shape) == 2:
            steps, values = series(records, f"spectral/{path}/sigma_1")
            assert steps == list(range(2, 25, 2))
            assert all(value > 0 for value in values)
    assert series(records, "gain/layers/0/attention")[0] == list(range(2, 25, 2))
    assert series(records, "train/loss")[0] == [5, 8, 10, 15, 16, 20, 24]


def test_the_values_are_those_of_the_parameters_after_the_step(whole, trainer):
    result, directory = whole
    hyper = Hyper.of(*TUNED.values())
    with Checkpoints(directory, 2) as checkpoints:
        state = checkpoints.restore(jax.eval_shape(trainer.program.init, hyper))
    assert state is not None
    for path, leaf in named_leaves(state.params).items():
        if np.ndim(leaf) == 2:
            exact = np.linalg.svd(np.asarray(leaf, np.float64), compute_uv=False)
            observed = [result[f"spectral/{path}/sigma_{i + 1}"] for i in range(4)]
            np.testing.assert_allclose(observed, exact[:4], rtol=2e-3)
    batch = jnp.asarray(trainer.corpus.batch(TUNED["seed"], 23, TRAIN.batch_size, TRAIN.sequence_length))
    _, gains = sublayer_gains(trainer.program.logits)(state.params, batch[:, :-1].astype(jnp.int32))
    for sublayer, gain in gains.items():
        assert result[f"gain/{sublayer}"] == pytest.approx(float(gain), rel=1e-4)


def test_the_result_holds_means_over_the_last_quarter_and_what_decayed(whole):
    result, directory = whole
    steps, values = series(read_metrics(directory), QUERY)
    late = [value for step, value in zip(steps, values, strict=True) if step > 18]
    assert len(late) == 3
    assert result[f"{QUERY}_last_quarter"] == pytest.approx(np.mean(late))
    assert result[QUERY] == values[-1]
    assert "gain/layers/0/mlp_last_quarter" in result
    rates = TUNED["learning_rate"] * np.array([float(trainer_shape(step)) for step in range(24)])
    assert result["train/decay_elapsed"] == pytest.approx(2.0 * rates.sum(), rel=1e-6)


def trainer_shape(step):
    """Warmup over two steps from a third, then a half cosine to a tenth: written out."""
    if step < 2:
        return (step + 1) / 3
    return 0.1 + 0.9 * (1 + math.cos(math.pi * (step - 2) / 22)) / 2


def test_a_run_that_was_interrupted_goes_on_to_the_same_observations(whole, trainer, tmp_path, monkeypatch):
    save = Checkpoints.save

    def dies(self, step, state):
        if step == 16:
            raise KeyboardInterrupt
        save(self, step, state)

    monkeypatch.setattr(Checkpoints, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        trainer.run(**TUNED, directory=tmp_path / "run")
    assert read_metrics(tmp_path / "run")[-1]["step"] == 16
    monkeypatch.undo()
    result = trainer.run(**TUNED, directory=tmp_path / "run")
    expected, directory = whole
    assert without_times(read_metrics(tmp_path / "run")) == without_times(read_metrics(directory))
    assert without_times([result]) == without_times([expected])


def test_observing_does_not_change_the_training_and_records_what_a_step_did(whole, text_corpus, tmp_path):
    apart = {"observe_every": None, "checkpoint_every": 1}
    plain = Trainer(
        32, proxy=PROXY, train=TrainConfig(**{**vars(TRAIN), **apart}), corpus=text_corpus, progress=False
    )
    result = plain.run(**TUNED, directory=tmp_path)
    observed = whole[0]
    assert result["eval/loss"] == pytest.approx(observed["eval/loss"], abs=1e-5)
    assert not [name for name in result if name.startswith(("spectral", "update", "gain"))]
    after = latest(plain, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "24")
    before = latest(plain, tmp_path)
    for path, w in before.items():
        if w.ndim == 2:
            u = after[path] - w
            assert observed[f"update/{path}/update_rms"] == pytest.approx(np.sqrt(np.mean(u**2)), rel=1e-2)
            cosine = np.sum(w * after[path]) / (np.linalg.norm(w) * np.linalg.norm(after[path]))
            assert observed[f"update/{path}/angle"] == pytest.approx(np.arccos(cosine), rel=1e-2)


def latest(trainer, directory):
    state = jax.eval_shape(trainer.program.init, Hyper.of(*TUNED.values()))
    with Checkpoints(directory, 2) as checkpoints:
        restored = checkpoints.restore(state)
    assert restored is not None
    return {path: np.asarray(leaf, np.float64) for path, leaf in named_leaves(restored.params).items()}


def test_without_observations_neither_the_state_nor_the_program_has_any():
    train = TrainConfig(steps=24, warmup=2, batch_size=2, sequence_length=16)
    program = Program(32, PROXY, train, family(PROXY).plan(32))
    hyper = Hyper.of(*TUNED.values())
    state = jax.eval_shape(program.init, hyper)
    assert type(state) is TrainState
    tokens = jax.ShapeDtypeStruct((1000,), np.uint8)
    jaxpr = jax.make_jaxpr(program.segment)(state, hyper, tokens, np.int32(3))
    assert not {"eigh", "qr", "svd"} & primitives(jaxpr.jaxpr)
    observed = Program(32, PROXY, TRAIN, program.plan)
    state = jax.eval_shape(observed.init, hyper)
    assert "eigh" in primitives(jax.make_jaxpr(observed.segment)(state, hyper, tokens, np.int32(3)).jaxpr)


def primitives(jaxpr):
    found = set()
    for eqn in jaxpr.eqns:
        found.add(eqn.primitive.name)
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda x: hasattr(x, "jaxpr") or hasattr(x, "eqns")
        ):
            if hasattr(inner, "jaxpr") or hasattr(inner, "eqns"):
                found |= primitives(getattr(inner, "jaxpr", inner))
    return found


def test_layers_of_a_scan_have_a_name_each_and_trials_of_a_vmap_a_row_each():
    proxy = ProxyConfig(layers=2, scan=True)
    program = Program(32, proxy, TRAIN, family(proxy).plan(32))
    hypers = Hyper(jnp.ones(3), jnp.ones(3), jnp.zeros(3, jnp.uint32))
    states = jax.eval_shape(jax.vmap(program.init), hypers)
    tokens = jax.ShapeDtypeStruct((1000,), np.uint8)
    run = jax.vmap(program.segment, in_axes=(0, 0, None, None))
    after, metrics = jax.eval_shape(run, states, hypers, tokens, jax.ShapeDtypeStruct((), np.int32))
    assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(
        lambda a: (a.shape, a.dtype), states
    )
    for name in ("spectral/layers/mlp/up/kernel[1]/sigma_1", "gain/layers/attention[0]"):
        assert metrics[name].shape == (3, 5)


@pytest.mark.parametrize("every", [0, 7, 2.0])
def test_an_interval_that_leaves_the_last_quarter_without_observations_is_refused(every):
    with pytest.raises(ValueError, match="observe_every must be"):
        TrainConfig(steps=24, warmup=0, observe_every=every)


def test_the_names_are_those_that_the_steady_state_check_reads(whole):
    assert recorder.LATE == steady_state.LATE
    assert steady_state.ELAPSED in whole[0]
