"""trace_axes: what a program at one width does with its parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import mupwd

X = np.zeros((4, 6), np.float32)


def test_every_use_has_axes_and_a_line():
    params = {"up": jnp.ones((6, 8)), "tied": jnp.ones((8, 8)), "gain": jnp.ones(8), "never": jnp.ones(3)}

    def fn(params, x):
        y = (x @ params["up"]) * params["gain"][None]
        return jnp.tanh(y @ params["tied"]) @ params["tied"].T

    axes = mupwd.trace_axes(fn, params, X)
    assert list(axes) == ["gain", "never", "tied", "up"]
    assert axes["up"].shape == (6, 8)
    assert axes["up"].axes == (("in", "out"),)
    assert axes["tied"].axes == (("in", "out"), ("out", "in"))
    assert axes["gain"].axes == (("elementwise",),)
    assert axes["never"].axes == axes["never"].uses == ()
    first = fn.__code__.co_firstlineno
    assert axes["up"].uses == (f"dot_general: in, out at test_trace_axes.py:{first + 1}",)
    assert axes["tied"].uses[1] == f"dot_general: out, in at test_trace_axes.py:{first + 2}"


def test_shapes_are_enough_and_nothing_is_computed():
    params = {"w": jax.ShapeDtypeStruct((1 << 20, 1 << 20), jnp.float32)}
    inputs = jax.ShapeDtypeStruct((1 << 10, 1 << 20), jnp.float32)
    assert mupwd.trace_axes(lambda p, x: x @ p["w"], params, inputs)["w"].axes == (("in", "out"),)


def test_what_is_not_understood_is_an_error():
    with pytest.raises(mupwd.TraceError, match=r"^w: goes through 'qr' at test_trace_axes\.py:\d+"):
        mupwd.trace_axes(lambda p, x: x @ jnp.linalg.qr(p["w"])[0], {"w": jnp.eye(6)}, X)


def test_two_parameters_of_one_name_are_an_error():
    params = {"a/b": jnp.ones((6, 2)), "params": {"c": jnp.ones(2)}, "c": jnp.ones(2)}
    with pytest.raises(mupwd.TraceError, match="both named 'c'"):
        mupwd.trace_axes(lambda p, x: x @ p["a/b"], params, X)
