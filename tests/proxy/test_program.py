import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mupwd.paths import named_leaves
from mupwd.plan import PlanError
from mupwd.proxy import Hyper, Program, ProxyConfig, TrainConfig, TrainState, family
from mupwd.proxy.schedule import schedule_shape

PROXY = ProxyConfig(layers=1)
TRAIN = TrainConfig(steps=8, warmup=2, batch_size=2, sequence_length=16, log_every=4)
HYPER = Hyper.of(2**-6, 0.1, 7)


@pytest.fixture(scope="module")
def llamas():
    return family(PROXY, base=32)


@pytest.fixture(scope="module")
def program(llamas):
    return Program(32, PROXY, TRAIN, llamas.plan(32))


@pytest.fixture(scope="module")
def segment(program):
    return jax.jit(program.segment)


@pytest.fixture(scope="module")
def start(program):
    return jax.jit(program.init)(HYPER)


@pytest.fixture(scope="module")
def tokens(text_corpus):
    return jnp.asarray(text_corpus.train)


def assert_same_bits(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for path, leaf in named_leaves(a).items():
        assert np.asarray(leaf).tobytes() == np.asarray(named_leaves(b)[path]).tobytes(), path


def test_the_cut_into_segments_does_not_change_a_bit(segment, start, tokens):
    whole, metrics = segment(start, HYPER, tokens, 4)
    state, losses = start, []
    for steps in (1, 2, 1):
        state, part = segment(state, HYPER, tokens, steps)
        assert np.isnan(part["train/loss"][steps:]).all()
        losses += list(np.asarray(part["train/loss"][:steps]))
    assert_same_bits(whole, state)
    assert np.asarray(metrics["train/loss"]).tobytes() == np.asarray(losses).tobytes()


def test_batches_from_the_host_train_the_same_as_those_drawn_on_the_device(
    segment, start, tokens, text_corpus
):
    on_device, _ = segment(start, HYPER, tokens, 3)
    batches = np.zeros((4, 2, 17), np.int32)
    for step in range(3):
        batches[step] = text_corpus.batch(seed=7, step=step, batch_size=2, sequence_length=16)
    from_host, _ = segment(start, HYPER, jnp.asarray(batches), 3)
    for path, leaf in named_leaves(on_device.params).items():
        np.testing.assert_allclose(leaf, named_leaves(from_host.params)[path], rtol=0, atol=1e-6)


def test_at_the_base_a_run_is_plain_adamw_on_the_matrices(program, segment, start, tokens, text_corpus):
    """Against optax.adamw itself, with a decay mask and the batches of the host."""
    shape = schedule_shape(TRAIN)
    mask = {path: program.plan[path].wd != 0 for path in program.plan}
    assert mask["layers/0/mlp/up/kernel"]
    assert not mask["embedding"]
    transform = optax.chain(
        optax.clip_by_global_norm(TRAIN.clip),
        optax.adamw(
            lambda count: 2**-6 * shape(count),
            b1=TRAIN.beta1,
            b2=TRAIN.beta2,
            weight_decay=0.1,
            mask=lambda params: jax.tree_util.tree_map_with_path(
                lambda path, _: mask["/".join(str(key.key) for key in path)], params
            ),
        ),
    )

    @jax.jit
    def step(params, state, batch):
        loss, grads = jax.value_and_grad(program.loss)(params, batch)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = transform.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss, optax.tree.norm(grads)

    params, state, losses, norms = start.params, transform.init(start.params), [], []
    for i in range(4):
        batch = text_corpus.batch(seed=7, step=i, batch_size=2, sequence_length=16)
        params, state, loss, norm = step(params, state, jnp.asarray(batch))
        losses.append(float(loss))
        norms.append(float(norm))
    ours, metrics = segment(start, HYPER, tokens, 4)
    np.testing.assert_allclose(metrics["train/loss"], losses, rtol=1e-5)
    np.testing.assert_allclose(metrics["train/grad_norm"], norms, rtol=1e-4)
    np.testing.assert_allclose(
        metrics["train/learning_rate"], [2**-6 * float(shape(i)) for i in range(4)], rtol=1e-6
    )
    for path, leaf in named_leaves(ours.params).items():
        np.testing.assert_allclose(leaf, named_leaves(params)[path], rtol=0, atol=1e-4)


def test_trials_in_one_program_equal_trials_alone(program, segment, tokens):
    hypers = Hyper(
        jnp.asarray([2**-6, 2**-5], jnp.float32),
        jnp.asarray([0.1, 0.0], jnp.float32),
        jnp.asarray([7, 8], jnp.uint32),
    )
    states = jax.jit(jax.vmap(program.init))(hypers)
    together = jax.jit(jax.vmap(program.segment, in_axes=(0, 0, None, None)))
    states, metrics = together(states, hypers, tokens, jnp.int32(4))
    evaluate, evaluate_all = (
        jax.jit(f) for f in (program.evaluate, jax.vmap(program.evaluate, in_axes=(0, None)))
    )
    batches = jnp.asarray(np.random.default_rng(0).integers(0, 256, (3, 2, 17)), jnp.int32)
    losses = evaluate_all(states.params, batches)
    init = jax.jit(program.init)
    for trial in range(2):
        hyper = jax.tree.map(lambda values, i=trial: values[i], hypers)
        state, alone = segment(init(hyper), hyper, tokens, 4)
        np.testing.assert_allclose(metrics["train/loss"][trial], alone["train/loss"], rtol=1e-4)
        np.testing.assert_allclose(losses[trial], evaluate(state.params, batches), rtol=1e-4)


def test_initial_values_at_the_target_follow_the_rule():
    proxy = ProxyConfig(layers=1, kv_heads=2)
    plan = family(proxy, base=32).plan(128)
    state = jax.jit(Program(128, proxy, TRAIN, plan).init)(HYPER)
    base = {
        "embedding": 1.0,
        "readout/kernel": 32**-0.5,
        "layers/0/attention/q/kernel": 32**-0.5,
        "layers/0/attention/k/kernel": 32**-0.5,
        "layers/0/mlp/down/kernel": 96**-0.5,
    }
    # matrix m^-1/2, narrow m^-1, output folded m^-1, input 1, at m = 4.
    factors = {"embedding": 1, "readout/kernel": 1 / 4, "layers/0/attention/k/kernel": 1 / 4}
    leaves = named_leaves(state.params)
    for path, std in base.items():
        expected = std * factors.get(path, 1 / 2)
        assert float(jnp.std(leaves[path])) == pytest.approx(expected, rel=0.05), path


@pytest.mark.parametrize(("recipe", "ratios"), [("mupwd", {}), ("completep", {"depth_ratio": 4.0})])
def test_forward_and_folded_forms_train_the_same(recipe, ratios, tokens, llamas):
    losses = []
    for form in ("forward", "folded"):
        plan = llamas.plan(64, recipe=recipe, form=form, **ratios)
        program = Program(64, PROXY, TRAIN, plan)
        _, metrics = jax.jit(program.segment)(jax.jit(program.init)(HYPER), HYPER, tokens, 4)
        losses.append(metrics)
    for name in ("train/loss", "train/grad_norm"):
        np.testing.assert_allclose(losses[0][name], losses[1][name], rtol=1e-4)


def test_a_tied_readout_gets_its_factor():
    tied = ProxyConfig(layers=1, tied=True)
    program = Program(128, tied, TRAIN, family(tied, base=32).plan(128, form="forward"))
    params = jax.jit(program.init)(HYPER).params
    some = jnp.zeros((1, 8), jnp.int32)
    np.testing.assert_allclose(
        4 * program.logits(params, some), program._model_logits(params, some), rtol=1e-5
    )


def test_residual_branches_get_the_factor_of_a_depth_recipe(llamas, program, start):
    deep = llamas.plan(32, recipe="completep", depth_ratio=4.0)
    programs = [Program(32, PROXY, TRAIN, deep), program]
    params = start.params
    some = jnp.zeros((1, 8), jnp.int32)
    silent = {**params, "layers": jax.tree.map(jnp.zeros_like, params["layers"])}
    logits, without = (program.logits(params, some) for program in programs)
    # Nothing but the branches is multiplied.
    np.testing.assert_allclose(*(program.logits(silent, some) for program in programs), rtol=1e-6)
    assert not np.allclose(logits, without, rtol=1e-2)


def test_sp_leaves_the_model_s_own_initial_values():
    plan = family(PROXY, base=32).plan(64, recipe="sp")
    own = family(PROXY, base=32).plan(64, recipe="mupwd")
    sp, mupwd = (named_leaves(jax.jit(Program(64, PROXY, TRAIN, p).init)(HYPER).params) for p in (plan, own))
    ratio = np.asarray(sp["readout/kernel"]) / np.asarray(mupwd["readout/kernel"])
    np.testing.assert_allclose(ratio, math.sqrt(2), rtol=1e-5)
    assert (sp["embedding"] == mupwd["embedding"]).all()


def test_a_plan_for_another_width_is_refused(llamas):
    with pytest.raises(PlanError, match="another shape"):
        Program(64, PROXY, TRAIN, llamas.plan(32))


def test_the_state_is_a_pytree_of_arrays(start):
    assert isinstance(start, TrainState)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(start))
