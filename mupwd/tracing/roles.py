"""What a family knows of one parameter: the role it plays and what each of its axes does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

RESIDUAL = "residual branch"  # in `Parameter.folds`


def readout(path: str) -> str:
    """Returns what `Parameter.folds` calls the factor of a readout that is normalised or rounded."""
    return f"readout {path}"


AXIS_WORDS = ("in", "out", "stack", "lookup", "elementwise", "unused")
Role = Literal["matrix", "input", "output", "narrow", "wide", "vector", "scalar", "tied", "unused"]


@dataclass(frozen=True)
class Logits:
    """A product of two activations over an axis that grows, as attention's logits where head_dim grows.

    Args:
      source: line of the program, such as `"attention.py:31"`.
      place: columns on that line, and the line in a package that is called there, if one is.
      axes: which axes are contracted, as the program has them.
      size: of the contracted axis at the base.
      exponent: the model scales the product by `size**exponent`: -0.5 for the usual attention.
      mixed: the same place makes products of other sizes or scales too, as where one attention is called with two
        head_dims, so that no factor can be put on one of them alone.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> def build(width):
      ...     def fn(params, x):
      ...         q, k = x @ params["q"], x @ params["k"]
      ...         return jax.nn.softmax(q @ k.T * width**-0.5) @ x
      ...     return fn, {"q": jnp.ones((3, width)), "k": jnp.ones((3, width))}
      >>> (found,) = mupwd.family(build, base=16, inputs=(jnp.ones((5, 3)),)).logits
      >>> found.size, found.exponent
      (16, -0.5)
    """

    source: str
    place: str
    axes: str
    size: int
    exponent: float
    mixed: bool = False

    @property
    def name(self) -> str:
        """What `Parameter.folds` calls it."""
        return f"logits at {self.source}, {self.place}, {self.axes}"

    @property
    def where(self) -> tuple[str, str, str]:
        """What its product is known by in a program of any width."""
        return self.source, self.place, self.axes


@dataclass(frozen=True)
class Parameter:
    """One parameter of a family: facts about the program, before any recipe is applied.

    Args:
      path: canonical name, such as `"layers/0/mlp/up/kernel"`.
      role: what the parameter is for; see the table of roles in docs/rules.md.
      shape: sizes of its axes at the base width.
      dtype: name of its dtype, such as `"float32"`.
      axes: what each axis does: `"in"` (a contraction sums over it), `"out"` (it survives in the result),
        `"stack"` (it enumerates copies), `"lookup"` (it is indexed), `"elementwise"` or `"unused"`; two words
        joined by "+" for an axis that is two things, as `"stack+out"` for a fused qkv axis. For a tied
        parameter, what they do in its use as input.
      growing: per axis, whether its size depends on the width.
      scale_exponent: the model's own forward pass multiplies the use by `width**scale_exponent`; for a tied
        parameter, its use as output.
      residual: the use is inside a residual branch.
      uses: one line per use, such as `"dot_general: in, out at model.py:31"`.
      lookup_scale_exponent: for a tied parameter, the same of its use as input (`sqrt(width) * embed[token]`
        has 0.5).
      pieces: per axis, into how many equal contiguous copies it is cut: 3 for a fused qkv axis
        (`"stack+out"`), 1 for an axis that is one thing, 0 where only an override says that there are copies.
        Empty where every axis is one thing.
      folds: what takes a factor when this parameter is multiplied by it: the residual branch that it ends, or
        `Logits.name`, or `"readout "` and the path of an altered one.
      unfoldable: why a residual branch's factor cannot be folded into parameters, where this one is the reason.
      altered: of a readout that the program normalises or rounds before it is used: where that use is.

    Raises:
      ValueError: `shape`, `axes`, `growing` and `pieces` have different lengths, or an axis does something unheard of.

    Example:
      >>> kernel = Parameter("up/kernel", "matrix", (64, 256), "float32", ("in", "out"), (True, True))
      >>> kernel.in_axes, kernel.out_axes
      ((0,), (1,))
    """

    path: str
    role: Role
    shape: tuple[int, ...]
    dtype: str
    axes: tuple[str, ...]
    growing: tuple[bool, ...]
    scale_exponent: float = 0.0
    residual: bool = False
    uses: tuple[str, ...] = ()
    lookup_scale_exponent: float = 0.0
    pieces: tuple[int, ...] = ()
    folds: tuple[str, ...] = ()
    unfoldable: str = ""
    altered: str = ""

    def __post_init__(self) -> None:
        if not len(self.shape) == len(self.axes) == len(self.growing):
            raise ValueError(
                f"{self.path}: {len(self.shape)} sizes, {len(self.axes)} axes and {len(self.growing)} growth "
                "flags; one of each is needed per axis"
            )
        if self.pieces and len(self.pieces) != len(self.shape):
            raise ValueError(f"{self.path}: {len(self.shape)} sizes but {len(self.pieces)} numbers of pieces")
        if unknown := {word for axis in self.axes for word in axis.split("+")} - set(AXIS_WORDS):
            raise ValueError(
                f"{self.path} has axes of no known kind: {', '.join(sorted(unknown))}; known are "
                f"{', '.join(AXIS_WORDS)}"
            )

    @property
    def in_axes(self) -> tuple[int, ...]:
        """Axes that a contraction sums over."""
        return self._axes_that_are("in")

    @property
    def out_axes(self) -> tuple[int, ...]:
        """Axes that survive in the result."""
        return self._axes_that_are("out")

    @property
    def stack_axes(self) -> tuple[int, ...]:
        """Axes that enumerate copies: scanned layers, experts, fused q/k/v."""
        return self._axes_that_are("stack")

    def _axes_that_are(self, word: str) -> tuple[int, ...]:
        return tuple(i for i, axis in enumerate(self.axes) if word in axis.split("+"))
