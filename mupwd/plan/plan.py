"""Plan: a recipe applied to one target of a family."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from mupwd.plan.errors import PlanError
from mupwd.plan.parameter import ParameterPlan
from mupwd.recipes import Recipe
from mupwd.tracing.roles import Logits

Form = Literal["folded", "forward"]
_FACTORS = (
    "depth_ratio",
    "batch_ratio",
    "token_ratio",
    "sequence_ratio",
    "beta_ratio",
    "residual_scale",
)


@dataclass(frozen=True, repr=False)
class Plan(Mapping[str, ParameterPlan]):
    """The multipliers of every parameter of one target: an immutable `{path: ParameterPlan}`.

    Plans come from `Family.plan` (or `make_plan`). They compare and hash by value (the widths, which a plan
    that was made from parameters does not know, aside), so that one can be a static argument of a jitted
    function.

    Args:
      rules: the recipe.
      form: `"folded"` (the model is untouched) or `"forward"` (the model multiplies by `forward`).
      base: width at the base, None where the plan was made from parameters.
      width: width at the target, or None.
      depth_ratio: number of layers, target / base.
      batch_ratio: batch size, target / base.
      token_ratio: training tokens, target / base.
      sequence_ratio: sequence length, target / base.
      beta_ratio: factor on `1 - beta` of both of Adam's moments.
      residual_scale: factor that the model must apply to the output of each residual branch.
      parameters: in the order of the target's own tree.
      logits: products of activations whose scale is not the recipe's: `apply_forward` multiplies them.

    Raises:
      PlanError: two parameters have one path, or a ratio or factor is not positive and finite.

    Example:
      >>> import numpy as np, mupwd
      >>> shapes = lambda d: {"up": np.ones((d, 4 * d)), "gain": np.ones(d)}
      >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out", "gain": "elementwise"})
      >>> plan = family.plan(shapes(32))
      >>> plan.recipe, plan.form, plan["up"].lr, plan["up"].wd, plan["gain"].wd
      ('mupwd', 'folded', 0.25, 2.0, 0.0)
    """

    rules: Recipe
    form: Form
    base: int | None = field(compare=False)
    width: int | None = field(compare=False)
    depth_ratio: float
    batch_ratio: float
    token_ratio: float
    sequence_ratio: float
    beta_ratio: float
    residual_scale: float
    parameters: tuple[ParameterPlan, ...]
    logits: tuple[Logits, ...] = ()

    def __post_init__(self) -> None:
        for name in _FACTORS:
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise PlanError(
                    f"{name} = {value:g}, for depth ×{self.depth_ratio:g}, batch size ×{self.batch_ratio:g}, training "
                    f"tokens ×{self.token_ratio:g}: expected a positive finite number; take ratios that are less "
                    "extreme"
                )
        for name in ("base", "width"):
            width = getattr(self, name)
            if width is not None and width < 1:
                raise PlanError(f"{name} = {width}: a width is a positive integer")
        if len(self._by_path) < len(self.parameters):
            paths = [parameter.path for parameter in self.parameters]
            raise PlanError(
                f"two parameters of the plan are both named {max(paths, key=paths.count)!r}; rename one"
            )

    @cached_property
    def _by_path(self) -> dict[str, ParameterPlan]:
        return {parameter.path: parameter for parameter in self.parameters}

    def __getitem__(self, path: str) -> ParameterPlan:
        return self._by_path[path]

    def __iter__(self) -> Iterator[str]:
        return iter(self._by_path)

    def __len__(self) -> int:
        return len(self.parameters)

    @cached_property
    def _hash(self) -> int:
        return hash((self.rules, self.form, self.parameters, self.logits))

    def __hash__(self) -> int:
        # Cached: jit hashes its static arguments at every call.
        return self._hash

    def __repr__(self) -> str:
        widths = "" if self.width is None else f", base={self.base}, width={self.width}"
        return f"Plan(recipe={self.recipe!r}, form={self.form!r}{widths}, {len(self)} parameters)"

    def __str__(self) -> str:
        return self.table()

    @property
    def recipe(self) -> str:
        """Name of the recipe."""
        return self.rules.name

    @property
    def forward(self) -> dict[str, float]:
        """The forward factors that are not 1, by path."""
        return {p.path: p.forward for p in self.parameters if p.forward != 1.0}

    @property
    def notices(self) -> tuple[str, ...]:
        """In what else than width the target differs from the base, where the recipe has no rule for it.

        Returns:
          A sentence per axis: depth, batch size, training tokens, sequence length.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
          >>> for notice in family.plan(shapes(32), batch_ratio=4.0).notices:
          ...     print(notice.split(",")[0])
          batch size ×4: recipe mupwd has no rule for it
        """
        from mupwd.plan.notices import notices

        return notices(self)

    @cached_property
    def shape_hash(self) -> str:
        """sha256 of every parameter's path, base shape, shape and dtype."""
        shapes = sorted((p.path, p.base_shape, p.shape, p.dtype) for p in self.parameters)
        return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()

    def check(self, params: Any) -> None:
        """Refuses parameters that the plan was not made for.

        Args:
          params: a tree of arrays (or shapes) with any subset of the plan's paths: `optax.partition` and
            `masked` hide leaves.

        Raises:
          PlanError: a path is unknown, or a shape is not the target's.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> plan.check(shapes(32))
          >>> plan.check(shapes(64))
          Traceback (most recent call last):
          ...
          mupwd.plan.errors.PlanError: 1 parameter(s) have another shape than the plan was made for:
            up: (64, 256), in the plan (32, 128)
          Make a plan for these parameters: family.plan(params).
        """
        from mupwd.plan.fit import check

        check(self, params)

    def fold(self, params: Any) -> Any:
        """Returns the parameters with the forward factors in them: the untouched model gives the same logits.

        For export. The parameters were trained by `mupwd.apply_forward(fn, plan)`, or by a model that multiplies by
        `plan.forward` and `plan.residual_scale` itself; what is returned is for the model without any factor. A
        readout takes its own factor, a residual branch's goes into the last parameters of the branch, that of
        logits into the query's.

        Args:
          params: the whole tree (or model) that the plan is for.

        Returns:
          A tree of the same structure and dtypes.

        Raises:
          PlanError: a factor cannot be folded (it names the parameter and says what to do), or the tree is not
            the plan's, or only a part of it.

        Example:
          >>> import jax, jax.numpy as jnp, mupwd
          >>> def build(width):
          ...     fn = lambda params, x: jax.nn.relu(x @ params["up"]) @ params["out"]
          ...     return fn, {"up": jnp.ones((3, width)), "out": jnp.ones((width, 2))}
          >>> plan = mupwd.family(build, base=64, inputs=(jnp.ones((5, 3)),)).plan(256, form="forward")
          >>> params = build(256)[1]
          >>> exported = plan.fold(params)
          >>> float(exported["out"][0, 0]), float(plan.unfold(exported)["out"][0, 0])
          (0.25, 1.0)

        Source: the equivalent forms of Tensor Programs V, arXiv 2203.03466, appendix B.
        """
        from mupwd.plan.fold import folded

        return folded(self, params)

    def unfold(self, params: Any) -> Any:
        """Returns the parameters that `fold` was given: exactly, where the factors are powers of two.

        Args:
          params: the whole tree, as `fold` returned it.

        Returns:
          A tree of the same structure and dtypes.

        Raises:
          PlanError: as `fold`.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> plan.unfold(plan.fold(shapes(32)))["up"].shape
          (32, 128)
        """
        from mupwd.plan.fold import unfolded

        return unfolded(self, params)

    def check_same(self, saved: Plan) -> None:
        """Refuses to go on with this plan where a run was saved with another.

        Args:
          saved: the plan of the checkpoint.

        Raises:
          PlanError: says in what they differ: recipe, form, ratios, parameters' roles, shapes or multipliers.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
          >>> family.plan(shapes(32)).check_same(family.plan(shapes(64)))
          Traceback (most recent call last):
          ...
          mupwd.plan.errors.PlanError: the saved plan is another one; 1 difference(s):
            shape (32, 128), saved (64, 256): up
          Go on with the plan that was saved, or make this one as that one was made.
        """
        from mupwd.plan.differences import check_same

        check_same(self, saved)

    def table(self, learning_rate: float | None = None, weight_decay: float | None = None) -> str:
        """Returns the plan as text to read, one line per distinct rule and shape.

        Args:
          learning_rate: the base's peak learning rate; with it, the learning rate of every line is shown.
          weight_decay: the base's coupled weight decay; with both, the decay per step `lr * wd` and the
            timescale `1 / (lr * wd)` in steps, at base and at target.

        Returns:
          Lines of at most 120 columns.

        Raises:
          PlanError: a learning rate or decay that is negative or not finite.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> print(plan.table(learning_rate=3e-3, weight_decay=0.1))  # doctest: +NORMALIZE_WHITESPACE +ELLIPSIS
          recipe mupwd
          ...
            parameter    learning rate  weight decay  lr*wd base   target  steps base  target
          matrix
            up                 0.00075           0.2      0.0003  0.00015       3,333   6,667
        """
        from mupwd.plan.table import table

        return table(self, learning_rate, weight_decay)

    def explain(self, path: str) -> str:
        """Returns, in sentences, why a parameter has its role and where each multiplier comes from.

        Args:
          path: its canonical name.

        Returns:
          Several lines: role and sizes, what each axis does and where the program says so, then a line per multiplier.

        Raises:
          PlanError: no parameter has that name; the message holds the nearest ones.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> print(plan.explain("up").splitlines()[0])
          up: matrix, float64, 8→32, 32→128
        """
        from mupwd.plan.explain import explain
        from mupwd.plan.fit import nearest

        if not isinstance(path, str):
            raise PlanError(
                f"explain({path!r}): expected the name of a parameter, such as {next(iter(self), '')!r}"
            )
        if path not in self._by_path:
            raise PlanError(f"no parameter of the plan is named {path!r}{nearest(self, path, n=3)}")
        return explain(self, self._by_path[path])

    def save(self, file: str | os.PathLike[str]) -> None:
        """Writes the plan as JSON; a file of that name is replaced in one step.

        Args:
          file: where to.

        Raises:
          OSError: it cannot be written; what was there before is still there.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> import pathlib, tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     plan.save(pathlib.Path(folder, "plan.json"))
          ...     mupwd.Plan.load(pathlib.Path(folder, "plan.json")) == plan
          True
        """
        from mupwd.plan.store import save

        save(self, file)

    @staticmethod
    def load(file: str | os.PathLike[str]) -> Plan:
        """Reads a plan that `save` wrote.

        Args:
          file: where from.

        Returns:
          A plan that is equal to the saved one.

        Raises:
          PlanError: the file is damaged, of a newer version, or its shapes do not match its hash.
          OSError: there is no such file (FileNotFoundError), or it cannot be read.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> import pathlib, tempfile
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     plan.save(pathlib.Path(folder, "plan.json"))
          ...     mupwd.Plan.load(pathlib.Path(folder, "plan.json")) == plan
          True
        """
        from mupwd.plan.store import load

        return load(file)

    def to_json(self) -> dict[str, Any]:
        """Returns what `save` writes, for a checkpoint that stores JSON (Orbax's `JsonSave`).

        Returns:
          A dict of strings, numbers, lists and dicts.

        Example:
          >>> import numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> plan.to_json()["form"]
          'folded'
        """
        from mupwd.plan.store import to_json

        return to_json(self)

    @staticmethod
    def from_json(content: Any) -> Plan:
        """Returns the plan that `to_json` was called of.

        Args:
          content: as `to_json` gave it, or as it came back from JSON.

        Returns:
          A plan that is equal to the one it was made of.

        Raises:
          PlanError: it is damaged, of a newer version, or its shapes do not match its hash.

        Example:
          >>> import json, numpy as np, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> plan = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"}).plan(shapes(32))
          >>> mupwd.Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan
          True
        """
        from mupwd.plan.store import from_json

        return from_json(content)
