"""A run on eight devices of one process: the losses of one device, and what each device holds."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from mupwd.paths import named_leaves
from mupwd.proxy import Hyper, Program, ProxyConfig, TrainConfig, Trainer, family
from mupwd.proxy.checkpoint import Checkpoints
from mupwd.proxy.mesh import Layout, layout_of

SIZES = {"steps": 12, "warmup": 2, "batch_size": 8, "sequence_length": 16, "eval_batches": 2}
# What differs from one device is the order in which a batch is summed: 1e-7 of a gradient, of which Adam can make more
# where a gradient is near zero. It came to 2e-7 of the losses; a batch of other rows makes 1e-2 of them.
TOLERANCE = 1e-4
SOON = {"xla_backend_optimization_level": "0"}  # compiled, rather than fast


def compiled(sharding, text_corpus):
    """Runs a program of one width twice; returns what it saw and its use of memory."""
    proxy = ProxyConfig(layers=1)
    program = Program(
        64, proxy, TrainConfig(**SIZES, sharding=sharding), family(proxy).plan(64), segment_steps=6
    )
    place = program.layout.place_whole
    hyper = jax.tree.map(lambda value: place(np.asarray(value)), Hyper.of(2**-5, 0.1, 7))
    tokens, steps = place(text_corpus.train), np.int32(6)
    start = jax.jit(program.init, compiler_options=SOON)(hyper)
    segment = jax.jit(program.segment).lower(start, hyper, tokens, steps).compile(SOON)
    middle, first = segment(start, hyper, tokens, steps)
    end, second = segment(middle, hyper, tokens, steps)
    losses = {name: np.concatenate([first[name], second[name]]) for name in first}
    return program, (start, end), losses, segment.memory_analysis()


@pytest.fixture(scope="module")
def runs(text_corpus):
    return {sharding: compiled(sharding, text_corpus) for sharding in ("none", "data", "full")}


@pytest.mark.parametrize("sharding", ["data", "full"])
def test_the_losses_are_those_of_one_device(runs, sharding):
    losses, expected = runs[sharding][2], runs["none"][2]
    assert expected["train/loss"][0] - expected["train/loss"][-1] > 0.5
    for name in ("train/loss", "train/grad_norm", "train/learning_rate"):
        np.testing.assert_allclose(losses[name], expected[name], rtol=TOLERANCE)


def test_every_device_holds_its_part_of_parameters_and_optimizer_state(runs):
    for state in runs["full"][1]:
        for path, leaf in named_leaves({"params": state.params, "optimizer": state.opt_state}).items():
            parts = {shard.data.size for shard in leaf.addressable_shards}
            assert parts == {leaf.size // 8 if leaf.ndim == 2 else leaf.size}, path
            assert len(leaf.sharding.device_set) == 8
    held = {name: sum(map(held_by_one, jax.tree.leaves(run[1][1]))) for name, run in runs.items()}
    assert held["data"] == held["none"]
    # Gains, and the counters, are whole.
    assert held["full"] < 1.05 * held["none"] / 8


def held_by_one(leaf):
    return leaf.addressable_shards[0].data.nbytes


def test_a_step_needs_less_memory_on_each_device(runs):
    used = {name: run[3].argument_size_in_bytes + run[3].temp_size_in_bytes for name, run in runs.items()}
    assert used["full"] < 0.7 * used["data"] < 0.7 * used["none"]


def test_a_state_goes_on_with_another_number_of_devices(runs, tmp_path):
    saved = runs["full"][1][1]
    four = jax.make_mesh((4,), ("devices",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])
    with Checkpoints(tmp_path, 1) as checkpoints:
        checkpoints.save(12, saved)
        like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), saved)
        restored = checkpoints.restore(like._replace(params=Layout(four, full=True).cut(like.params)))
    assert restored is not None
    assert held_by_one(restored.params["embedding"]) == 2 * held_by_one(saved.params["embedding"])
    jax.tree.map(np.testing.assert_array_equal, restored, saved)


@pytest.fixture(scope="module")
def eight():
    return jax.make_mesh((8,), ("devices",), axis_types=(AxisType.Auto,))


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((64, 192), (None, "devices")),
        ((192, 64), ("devices",)),
        ((64, 64), (None, "devices")),
        ((64, 100), ("devices",)),
        ((12, 36), ()),
        ((4, 64, 192), (None, None, "devices")),
        ((64,), ()),
        ((), ()),
        ((0, 64), (None, "devices")),
        ((0, 12), ()),
    ],
)
def test_the_longest_axis_that_the_devices_divide_is_cut(eight, shape, spec):
    array = jax.ShapeDtypeStruct(shape, np.float32)
    assert Layout(eight, full=True).cut(array).sharding.spec == PartitionSpec(*spec)
    assert Layout(eight).cut(array).sharding.spec == PartitionSpec()


@pytest.mark.slow
def test_a_width_that_the_devices_do_not_divide_and_observations(text_corpus):
    """Width 12: attention stays whole, the MLP of 16 is cut."""
    proxy, train = (
        ProxyConfig(layers=1, head_dim=12, mlp_ratio=1.0),
        TrainConfig(**SIZES, observe_every=3, sharding="full"),
    )
    program = Program(12, proxy, train, family(proxy, 12).plan(12), segment_steps=3)
    place = program.layout.place_whole
    hyper = jax.tree.map(lambda value: place(np.asarray(value)), Hyper.of(2**-5, 0.1, 0))
    state = jax.jit(program.init, compiler_options=SOON)(hyper)
    state, metrics = jax.jit(program.segment, compiler_options=SOON)(
        state, hyper, place(text_corpus.train), np.int32(3)
    )
    for path, leaf in named_leaves(state.params).items():
        assert held_by_one(leaf) == leaf.nbytes / (8 if 16 in leaf.shape or 256 in leaf.shape else 1), path
        if leaf.ndim == 2:
            exact = np.linalg.svd(np.asarray(leaf, np.float64), compute_uv=False)
            observed = [float(metrics[f"spectral/{path}/sigma_{i + 1}"][2]) for i in range(4)]
            np.testing.assert_allclose(observed, exact[:4], rtol=2e-3)
    assert all(np.isfinite(metrics[f"gain/layers/0/{name}"][2]) for name in ("attention", "mlp"))


@pytest.mark.parametrize("sharding", ["data", "full"])
def test_batches_from_the_host_are_shared_by_the_devices(runs, sharding):
    program = runs[sharding][0]
    batches = np.arange(2 * 8 * 3, dtype=np.int32).reshape(2, 8, 3)
    placed = program.layout.place_rows(batches, axis=1)
    assert {shard.data.shape for shard in placed.addressable_shards} == {(2, 1, 3)}
    np.testing.assert_array_equal(placed, batches)


@pytest.mark.parametrize("sharding", ["data", "full"])
def test_a_batch_that_the_devices_do_not_divide(text_corpus, sharding):
    with pytest.raises(
        ValueError, match=r"batch_size=12 cannot be shared by 8 devices \(sharding='" + sharding
    ):
        Trainer(32, train=TrainConfig(batch_size=12, sharding=sharding), corpus=text_corpus)


def test_processes_that_would_each_train_alone_are_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(
        ValueError, match=r"2 processes run together: .* set sharding='data' or sharding='full'"
    ):
        layout_of(TrainConfig(sharding="none"))
