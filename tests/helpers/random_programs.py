"""Random programs whose truth is known by construction: what every parameter is, and how its sides grow."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

HEAD_DIM, VOCABULARY, FEATURES, BATCH, LAYERS, CLASSES = 4, 10, 6, 3, 2, 5
TOKENS = np.zeros(BATCH, np.int32)
DATA = np.zeros((BATCH, FEATURES), np.float32)


@dataclass(frozen=True)
class Size:
    """of an axis: `times · width + plus`."""

    times: int = 0
    plus: int = 0

    def at(self, width: int) -> int:
        return self.times * width + self.plus

    @property
    def grows(self) -> bool:
        return self.times > 0


@dataclass
class Truth:
    """What is known of one parameter: its axes as (word, size), in the order of its layout."""

    role: str
    axes: list[tuple[str, Size]]

    def ratio(self, words: set[str], base: int, target: int) -> float:
        return math.prod(s.at(target) / s.at(base) for w, s in self.axes if w in words and s.grows)


@dataclass
class Program:
    """Steps `run(params, x, data) -> x`, in order, and the truth about their parameters."""

    steps: list[Callable[[dict[str, Any], Any, Any], Any]] = field(default_factory=list)
    truth: dict[str, Truth] = field(default_factory=dict)

    def build(self, width: int) -> tuple[Callable[..., Any], Any]:
        def fn(params: Any, tokens: Any, data: Any) -> Any:
            x = tokens
            for step in self.steps:
                x = step(params, x, data)
            return x

        shapes = {name: tuple(s.at(width) for _, s in t.axes) for name, t in self.truth.items()}
        return fn, {name: jnp.ones(shape) for name, shape in shapes.items()}


_KINDS = [
    *("_dense", "_gain", "_bias", "_residual", "_scan", "_fused", "_remat", "_tanh", "_cast", "_join"),
    "_scaled_weight",
]


class Builder:
    """Draws a program; everything that only concerns layout comes from `layout`, so that it can be redrawn."""

    def __init__(self, draw: Any, layout: np.random.Generator | None = None) -> None:
        self.draw = draw
        self.layout = layout or np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.made = Program()
        self.size = Size()
        self.grown = False  # the activation depends on something that grows
        self.waiting: list[Truth] = []  # narrow, or an output: whether anything that grows comes later tells

    def program(self) -> Program:
        self._start()
        for kind in self.draw(st.lists(st.sampled_from(_KINDS), min_size=1, max_size=6)):
            getattr(self, kind)()
        self._end()
        return self.made

    # What comes first and last.

    def _start(self) -> None:
        self.size = Size(times=1)
        kind = self.draw(st.sampled_from(["gather", "one-hot", "data"]))
        if kind == "data":
            self.size = Size(plus=FEATURES)
            self.made.steps.append(lambda params, x, data: data)
            self._dense(Size(times=self.draw(st.integers(1, 2))))
            return
        first = "lookup" if kind == "gather" else "in"
        self.made.truth["embedding"] = Truth("input", [(first, Size(plus=VOCABULARY)), ("out", self.size)])
        if kind == "gather":
            self.made.steps.append(lambda params, x, data: params["embedding"][x])
        else:
            self.made.steps.append(
                lambda params, x, data: jax.nn.one_hot(x, VOCABULARY) @ params["embedding"]
            )
        self.grown = True

    def _end(self) -> None:
        embedding = self.made.truth.get("embedding")
        if embedding is not None and self.size == Size(times=1) and self.draw(st.booleans()):
            self._met()
            self.made.steps.append(lambda params, x, data: x @ params["embedding"].T)
            embedding.role = "tied"
        else:
            self._dense(Size(plus=CLASSES))

    # Steps.

    def _dense(self, out: Size | None = None) -> None:
        out = out or self._new_size()
        name, apply = self._kernel(self.size, out)
        self.made.steps.append(lambda params, x, data: apply(params[name], x))
        self._now(out)

    def _remat(self) -> None:
        out = self._new_size()
        name, apply = self._kernel(self.size, out)
        self.made.steps.append(lambda params, x, data: jax.checkpoint(apply)(params[name], x))
        self._now(out)

    def _scaled_weight(self) -> None:
        out = self._new_size()
        name, apply = self._kernel(self.size, out)
        how = self.layout.choice(["norm", "mask", "quantise", "half"])

        def changed(w: Any) -> Any:
            if how == "norm":
                return w / (jnp.linalg.norm(w) + 1e-6)
            if how == "mask":
                return jnp.where(np.arange(len(w)).reshape(-1, *[1] * (w.ndim - 1)) % 2 == 0, w, 0.0)
            if how == "quantise":
                return w + jax.lax.stop_gradient(jnp.round(w * 8) / 8 - w)
            return w.astype(jnp.bfloat16).astype(jnp.float32)

        self.made.steps.append(lambda params, x, data: apply(changed(params[name]), x))
        self._now(out)

    def _residual(self) -> None:
        inner = self._new_size()
        size, start = self.size, len(self.made.steps)
        self._dense(inner)
        self._tanh()
        self._dense(size)
        branch = self.made.steps[start:]
        del self.made.steps[start:]

        def step(params: Any, x: Any, data: Any) -> Any:
            y = x
            for inside in branch:
                y = inside(params, y, data)
            return x + y

        self.made.steps.append(step)
        if size.grows:
            self._met()

    def _scan(self) -> None:
        name, apply = self._kernel(self.size, self.size)
        truth = self.made.truth[name]
        axis = int(self.layout.integers(0, len(truth.axes) + 1))
        truth.axes.insert(axis, ("stack", Size(plus=LAYERS)))

        def step(params: Any, x: Any, data: Any) -> Any:
            stacked = jnp.moveaxis(params[name], axis, 0)
            return jax.lax.scan(lambda x, w: (jnp.tanh(apply(w, x)), None), x, stacked)[0]

        self.made.steps.append(step)
        self._now(self.size)

    def _fused(self) -> None:
        """Two projections in one kernel, as q, k and v are, told apart in one of three ways."""
        out = self._new_size()
        name = f"fused_{len(self.made.truth)}"
        how = self.layout.choice(["leading", "split", "inner"])
        role = self._role(self.size, out)
        if how == "leading":
            axes = [("stack", Size(plus=2)), ("in", self.size), ("out", out)]
        elif how == "inner":
            axes = [("in", self.size), ("stack", Size(plus=2)), ("out", out)]
        else:
            axes = [("in", self.size), ("out", Size(2 * out.times, 2 * out.plus))]
        self._add(name, role, axes)

        def step(params: Any, x: Any, data: Any) -> Any:
            w = params[name]
            if how == "leading":
                gate, value = jnp.einsum("bd,edf->ebf", x, w)
            elif how == "inner":
                y = jnp.einsum("bd,def->bef", x, w)
                gate, value = y[:, 0], y[:, 1]
            else:
                gate, value = jnp.split(x @ w, 2, axis=1)
            return jnp.tanh(gate) * value

        self.made.steps.append(step)
        self._now(out)

    def _gain(self) -> None:
        name = self._elementwise("gain")
        one = int(self.layout.integers(0, 2))
        self.made.steps.append(lambda params, x, data: x * (params[name] + one)[None])

    def _bias(self) -> None:
        name = self._elementwise("bias")
        self.made.steps.append(lambda params, x, data: jnp.tanh(x + params[name][None]))

    def _tanh(self) -> None:
        self.made.steps.append(lambda params, x, data: jnp.tanh(x))

    def _cast(self) -> None:
        self.made.steps.append(lambda params, x, data: x.astype(jnp.bfloat16).astype(jnp.float32))

    def _join(self) -> None:
        """Features of the input beside the activation: sizes whose ratio is no integer."""
        if self.size.grows:
            self.made.steps.append(lambda params, x, data: jnp.concatenate([jnp.tanh(x), data], axis=1))
            self.size = Size(self.size.times, self.size.plus + FEATURES)
            self._met()

    # Bookkeeping.

    def _new_size(self) -> Size:
        return self.draw(st.sampled_from([Size(times=1), Size(times=2), Size(times=3), Size(plus=8)]))

    def _role(self, into: Size, out: Size) -> str:
        if into.grows and out.grows:
            return "matrix"
        if out.grows:
            return "wide" if self.grown else "input"
        return "output" if into.grows else "scalar"

    def _kernel(self, into: Size, out: Size) -> tuple[str, Callable[[Any, Any], Any]]:
        """A kernel whose sides may be split into heads and whose axes lie in any order."""
        name = f"kernel_{len(self.made.truth)}"
        letters, axes = "", []
        for side, size, pool in (("in", into, "ij"), ("out", out, "op")):
            heads = size.plus == 0 and size.times and self.layout.integers(0, 2)
            letters += pool if heads else pool[0]
            axes += [(side, size)] if not heads else [(side, size), (side, Size(plus=HEAD_DIM))]
        order = [int(i) for i in self.layout.permutation(len(axes))]
        kernel = "".join(letters[i] for i in order)
        split_in, split_out = "j" in letters, "p" in letters
        # The number of heads is what grows: its size is the side's over head_dim.
        shaped = [
            (
                word,
                _Heads(size.times, 0) if size.grows and (split_in if word == "in" else split_out) else size,
            )
            for word, size in axes
        ]
        self._add(name, self._role(into, out), [shaped[i] for i in order])
        pattern = f"b{'ij' if split_in else 'i'},{kernel}->b{'op' if split_out else 'o'}"

        def apply(w: Any, x: Any) -> Any:
            rows = x.reshape(BATCH, -1, HEAD_DIM) if split_in else x
            return jnp.einsum(pattern, rows, w).reshape(BATCH, -1)

        return name, apply

    def _elementwise(self, kind: str) -> str:
        name = f"{kind}_{len(self.made.truth)}"
        self._add(name, "vector" if self.size.grows else "scalar", [("elementwise", self.size)])
        return name

    def _add(self, name: str, role: str, axes: list[tuple[str, Size]]) -> None:
        if any(size.grows for _, size in axes):
            self._met()
        self.made.truth[name] = Truth(role, axes)
        if role == "output":
            self.waiting.append(self.made.truth[name])

    def _now(self, size: Size) -> None:
        self.size = size
        self.grown = True

    def _met(self) -> None:
        for truth in self.waiting:
            truth.role = "narrow"
        self.waiting.clear()


@dataclass(frozen=True)
class _Heads(Size):
    def at(self, width: int) -> int:
        return self.times * width // HEAD_DIM
