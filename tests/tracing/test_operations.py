"""What the walk follows parameters through, operation by operation; and what it does not, and says so."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.programs import BATCH, Cases, said
from jax.ad_checkpoint import checkpoint_name
from jax.experimental import pallas as pl
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import mupwd

cases = Cases()
LAYERS, HEAD_DIM = 3, 16
MATRIX = "matrix: in out"


# Layouts.


@cases.decided(lambda d: {"w": (d, d)}, w="matrix: out in")
def transposed_twice_and_once(params, x):
    return x @ jnp.swapaxes(params["w"].T, 0, 1).T


@cases.decided(lambda d: {"w": (d // HEAD_DIM, d, HEAD_DIM)}, w="matrix: out in out")
def heads_first(params, x):
    return jnp.einsum("bd,hdk->bhk", x, params["w"]).reshape(x.shape)


@cases.decided(lambda d: {"w": (d // HEAD_DIM, HEAD_DIM, d)}, w="matrix: in in out")
def heads_merged_before_use(params, x):
    return x @ params["w"].reshape(-1, x.shape[1])


@cases.decided(lambda d: {"w": (d, d)}, w=MATRIX)
def reversed_rolled_padded(params, x):
    w = jnp.roll(jnp.flip(params["w"], 0), 1, axis=1)
    return jnp.pad(x, ((0, 0), (0, 2))) @ jnp.pad(w, ((0, 2), (0, 0)))


@cases.decided(lambda d: {"kv": (d, 2 * HEAD_DIM)}, kv="narrow: in out")
def kv_heads_repeated_in_the_weight(params, x):
    heads = x.shape[1] // HEAD_DIM
    w = jnp.repeat(params["kv"].reshape(-1, 2, HEAD_DIM), heads // 2, axis=1)
    return jnp.tanh(jnp.einsum("bd,dhk->bhk", x, w)).reshape(x.shape)


@cases.decided(lambda d: {"w": (d, 2 * d)}, w="matrix: in stack+out")
def cut_with_an_empty_part(params, x):
    """A size that is worked out as the rest of others may be 0, as in Mamba-2's input projection."""
    width = x.shape[1]
    _, y, z = jnp.split(x @ params["w"], [0, width], axis=-1)
    return y * jnp.tanh(z)


@cases.decided(lambda d: {"w": (d, d)}, w=MATRIX)
def casts(params, x):
    y = x.astype(jnp.bfloat16) @ params["w"].astype(jnp.bfloat16)
    return jax.lax.reduce_precision(y.astype(jnp.float32), 8, 7)


@cases.decided(
    lambda d: {"re": (d,), "im": (d,), "w": (d, d)},
    re="vector: elementwise",
    im="vector: elementwise",
    w=MATRIX,
)
def complex_numbers(params, x):
    state = jax.lax.complex(params["re"], params["im"])[None] * x.astype(jnp.complex64)
    return jnp.real(state * jnp.conj(state)) @ params["w"]


# Loops and calls.


@cases.decided(lambda d: {"w": (LAYERS, d, d)}, w="matrix: stack in out")
def a_python_loop_over_a_stack(params, x):
    for w in params["w"]:
        x = jnp.tanh(x @ w)
    return x


@cases.decided(
    lambda d: {"w": (d, LAYERS, d), "b": (d, LAYERS)}, w="matrix: in stack out", b="vector: elementwise stack"
)
def layer_axis_in_the_middle(params, x):
    layer = lambda x, wb: (jnp.tanh(x @ wb[0] + wb[1][None]), None)  # noqa: E731
    return jax.lax.scan(layer, x, (jnp.moveaxis(params["w"], 1, 0), params["b"].T))[0]


@cases.decided(lambda d: {"w": (LAYERS, 2, d, d)}, w="matrix: stack stack in out")
def scan_in_a_scan(params, x):
    step = lambda x, w: (jnp.tanh(x @ w), None)  # noqa: E731
    return jax.lax.scan(lambda x, w: jax.lax.scan(step, x, w), x, params["w"])[0]


@cases.decided(lambda d: {"w": (d, d)}, w=MATRIX)
def parameters_carried_by_a_scan(params, x):
    return jax.lax.scan(lambda c, _: ((jnp.tanh(c[0] @ c[1]), c[1]), None), (x, params["w"]), length=3)[0][0]


@cases.decided(lambda d: {"w": (d, d), "v": (d, d)}, w=MATRIX, v=MATRIX)
def chosen_by_cond(params, x):
    w = jax.lax.cond(x.sum() > 0, lambda p: p["w"], lambda p: p["v"], params)
    return x @ w


@cases.decided(lambda d: {"w": (LAYERS, d, d)}, w="matrix: stack in out")
def stacked_by_the_program(params, x):
    layers = [{"w": params["w"][i]} for i in range(LAYERS)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)
    return jax.lax.scan(lambda x, layer: (jnp.tanh(x @ layer["w"]), None), x, stacked)[0]


@cases.decided(lambda d: {"w": (d, d), "v": (d, d)}, w=MATRIX, v=MATRIX)
def remat_with_a_policy(params, x):
    policy = jax.checkpoint_policies.save_only_these_names("y")

    @functools.partial(jax.checkpoint, policy=policy)
    def block(x, w, v):
        return jnp.tanh(checkpoint_name(x @ w, "y") @ v)

    return x + block(x, params["w"], params["v"])


@jax.custom_jvp
def scaled(x, w):
    return 2 * (x @ w)


@scaled.defjvp
def _(primals, tangents):
    return scaled(*primals), scaled(tangents[0], primals[1])


@cases.decided(lambda d: {"w": (d, d)}, w=MATRIX)
def custom_jvp(params, x):
    return scaled(x, params["w"])


@jax.custom_vjp
def clipped(w):
    return jnp.round(w * 8) / 8


clipped.defvjp(lambda w: (clipped(w), None), lambda _, g: (g,))


@cases.decided(lambda d: {"w": (d, d)}, w=MATRIX)
def straight_through_quantiser(params, x):
    return x @ clipped(params["w"])


@cases.decided(lambda d: {"w": (d, d), "gain": (d,)}, w=MATRIX, gain="vector: elementwise")
def jit_in_jit(params, x):
    inner = jax.jit(lambda x, w: x @ w)
    return jax.jit(lambda x, w, g: inner(x, w) * g[None])(x, params["w"], params["gain"])


@cases.decided(lambda d: {"w": (d // HEAD_DIM, d, HEAD_DIM)}, w="matrix: out in out")
def vmap_over_heads(params, x):
    return jax.vmap(lambda w: x @ w, out_axes=1)(params["w"]).reshape(x.shape)


# More than one device.


def _mesh():
    return jax.make_mesh((4,), ("shard",), axis_types=(AxisType.Auto,), devices=jax.devices()[:4])


@cases.decided(lambda d: {"w": (d, d), "b": (d,)}, w=MATRIX, b="vector: elementwise")
def gathered_in_shard_map(params, x):
    def block(w, b, x):
        w = jax.lax.all_gather(w, "shard", axis=0, tiled=True)
        return jnp.tanh(x @ w + jax.lax.all_gather(b, "shard", tiled=True)[None])

    specs = (PartitionSpec("shard"), PartitionSpec("shard"), PartitionSpec())
    mapped = jax.shard_map(block, mesh=_mesh(), in_specs=specs, out_specs=PartitionSpec(), check_vma=False)
    return mapped(params["w"], params["b"], x)


@cases.decided(lambda d: {"w": (d, d)}, w=MATRIX)
def sharding_constraints(params, x):
    sharding = NamedSharding(_mesh(), PartitionSpec(None, "shard"))
    w = jax.lax.with_sharding_constraint(params["w"], sharding)
    return jax.lax.with_sharding_constraint(x @ w, sharding)


# Convolutions.


def _convolve(x, w, spec, **options):
    options = {"window_strides": (1,) * (x.ndim - 2), "padding": "SAME", **options}
    return jax.lax.conv_general_dilated(x, w, dimension_numbers=spec, **options)


ONE_D, TWO_D = ("NWC", "WIO", "NWC"), ("NHWC", "HWIO", "NHWC")


@cases.decided(lambda d: {"w": (3, d, d)}, w="matrix: in in out")
def convolution_1d(params, x):
    return _convolve(jnp.stack([x] * 5, axis=1), params["w"], ONE_D).mean(1)


@cases.decided(lambda d: {"w": (3, 3, d, d)}, w="matrix: in in in out")
def convolution_2d_strided(params, x):
    image = jnp.broadcast_to(x[:, None, None, :], (BATCH, 4, 4, x.shape[1]))
    return _convolve(image, params["w"], TWO_D, window_strides=(2, 2)).mean((1, 2))


@cases.decided(lambda d: {"w": (d, d, 3)}, w="matrix: out in in")
def convolution_in_torch_layout(params, x):
    return _convolve(jnp.stack([x] * 5, axis=2), params["w"], ("NCW", "OIW", "NCW")).mean(2)


@cases.decided(lambda d: {"w": (3, 1, d)}, w="vector: in in elementwise")
def depthwise_convolution(params, x):
    return _convolve(jnp.stack([x] * 5, 1), params["w"], ONE_D, feature_group_count=x.shape[1]).mean(1)


@cases.decided(lambda d: {"w": (3, d // 4, d)}, w="matrix: in in stack+out")
def convolution_in_four_groups(params, x):
    return _convolve(jnp.stack([x] * 5, 1), params["w"], ONE_D, feature_group_count=4).mean(1)


@cases.refused("w", "conv_general_dilated", lambda d: {"w": (3, 4, d)})
def convolution_in_growing_groups(params, x):
    stacked = jnp.stack([x] * 5, 1)
    return _convolve(stacked, params["w"], ONE_D, feature_group_count=x.shape[1] // 4).mean(1)


@cases.decided(lambda d: {"w": (3, d, d)}, w="matrix: in in out")
def transposed_convolution(params, x):
    return jax.lax.conv_transpose(jnp.stack([x] * 5, 1), params["w"], (2,), "SAME").mean(1)


@cases.decided(lambda d: {"w": (3, d, d), "v": (d,)}, w="matrix: in in out", v="vector: elementwise")
def weight_normalised_convolution(params, x):
    w = params["w"] / jnp.linalg.norm(params["w"], axis=(0, 1), keepdims=True) * params["v"][None, None]
    return _convolve(jnp.stack([x] * 5, 1), w, ONE_D).mean(1)


# Operations that cannot be looked into.


def _double(x):
    def kernel(x_ref, out_ref):
        out_ref[...] = 2 * x_ref[...]

    return pl.pallas_call(kernel, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype), interpret=True)(x)


def _called_back(x):
    return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def _foreign(x):
    return jax.ffi.ffi_call("somewhere_else", jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


OPAQUE = {"pallas_call": _double, "pure_callback": _called_back, "ffi_call": _foreign}


@pytest.mark.parametrize("primitive", OPAQUE)
def test_opaque_operations_pass_on_activations_and_are_refused_on_parameters(primitive):
    def build(width, *, on_parameter):
        def fn(params, x):
            w, x = params["w"], x @ params["first"]
            return (x @ OPAQUE[primitive](w) if on_parameter else OPAQUE[primitive](x) @ w) @ params["last"]

        shapes = {"first": (6, width), "w": (width, width), "last": (width, 3)}
        return fn, {name: jnp.ones(shape) for name, shape in shapes.items()}

    inputs = (np.zeros((BATCH, 6), np.float32),)
    family = mupwd.family(functools.partial(build, on_parameter=False), base=64, inputs=inputs)
    assert said(family) == {"first": "input: in out", "last": "output: in out", "w": MATRIX}
    with pytest.raises(mupwd.TraceError, match=rf"^w: goes through '{primitive}' at test_operations.py:\d+"):
        mupwd.family(functools.partial(build, on_parameter=True), base=64, inputs=inputs)
    stated = functools.partial(build, on_parameter=True)
    assert said(mupwd.family(stated, base=64, inputs=inputs, overrides={"w": MATRIX}))["w"] == MATRIX


@pytest.mark.parametrize("name", [name for name, case in cases.items() if case.refused is None])
def test_decided(name):
    found = said(cases[name].family())
    assert {path: found[path] for path in cases[name].expected} == cases[name].expected


@pytest.mark.parametrize("name", [name for name, case in cases.items() if case.refused is not None])
def test_refused(name):
    path, primitive = cases[name].refused
    with pytest.raises(mupwd.TraceError, match=rf"^{path}: .*{primitive}"):
        cases[name].family()
