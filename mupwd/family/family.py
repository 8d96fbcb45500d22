"""A model as a function of its width: the roles of its parameters, and plans for other widths."""

from __future__ import annotations

import dataclasses
import os
import reprlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from typing import Any

import jax

from mupwd.family.initialise import missing_factors, own_exponents
from mupwd.family.models import is_parameter, parameters_of
from mupwd.family.source import Source
from mupwd.paths import map_named, named_leaves
from mupwd.plan import Form, Plan, PlanError, make_plan
from mupwd.plan.fit import check_is_plan
from mupwd.recipes import Recipe
from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import Logits, Parameter


@dataclass(frozen=True, repr=False)
class Family:
    """A model as a function of its width; made by `mupwd.family`.

    Args:
      parameters: what is known of every parameter, by path; shapes are the base's.
      base: the width that is tuned; None where the family was made from shapes.
      delta: the second width that was compared.
      logits: products of activations over an axis that grows: attention's, where head_dim grows.
      source: how its models are built; None for a family that was loaded or made from shapes.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> def build(width):
      ...     fn = lambda params, x: jax.nn.relu(x @ params["up"]) @ params["out"]
      ...     return fn, {"up": jnp.ones((3, width)), "out": jnp.ones((width, 2))}
      >>> family = mupwd.family(build, base=64, inputs=(jnp.ones((5, 3)),))
      >>> family
      Family(base=64, delta=128, 2 parameters: 1 input, 1 output)
      >>> family.parameters["up"].growing
      (False, True)
    """

    parameters: Mapping[str, Parameter]
    base: int | None
    delta: int | None
    logits: tuple[Logits, ...] = ()
    source: Source | None = dataclasses.field(default=None, compare=False, repr=False)

    def __repr__(self) -> str:
        widths = "" if self.base is None else f"base={self.base}, delta={self.delta}, "
        roles = Counter(parameter.role for parameter in self.parameters.values())
        counts = ", ".join(f"{count} {role}" for role, count in sorted(roles.items()))
        return f"Family({widths}{len(self.parameters)} parameters: {counts})"

    def plan(
        self,
        target: Any,
        *,
        recipe: str | Recipe = "mupwd",
        form: Form = "folded",
        depth_ratio: float = 1.0,
        batch_ratio: float = 1.0,
        token_ratio: float = 1.0,
        sequence_ratio: float = 1.0,
    ) -> Plan:
        """Returns the multipliers of every parameter at a target.

        Args:
          target: a width, which is built abstractly; or a model, or its parameters (arrays or shapes), that
            was built elsewhere.
          recipe: a name or a `mupwd.recipes.Recipe`.
          form: `"folded"` leaves the model untouched; in `"forward"` form the model multiplies by
            `plan.forward` (`mupwd.apply_forward` does it).
          depth_ratio: number of layers, target / base.
          batch_ratio: batch size, target / base.
          token_ratio: training tokens, target / base.
          sequence_ratio: sequence length, target / base; no recipe has a rule for it.

        Returns:
          A `Plan`: print it, or hand it to an optimizer.

        Raises:
          PlanError: the target does not fit the family, or the recipe cannot be applied to it.
          TraceError: a width was given, but the family was loaded or made from shapes.

        Example:
          >>> import jax, jax.numpy as jnp, mupwd
          >>> def build(width):
          ...     fn = lambda params, x: jax.nn.relu(x @ params["up"]) @ params["out"]
          ...     return fn, {"up": jnp.ones((3, width)), "out": jnp.ones((width, 2))}
          >>> family = mupwd.family(build, base=64, inputs=(jnp.ones((5, 3)),))
          >>> family.plan(256)["out"].lr
          0.25
        """
        integer = isinstance(target, Integral) and not isinstance(target, bool)
        width = int(target) if integer else None
        if width is not None:
            if width < 1:
                raise PlanError(f"plan({width}): a width is a positive integer")
            target = self._source(f"plan({width})").abstract(width).params
        shapes = {
            path: tuple(leaf.shape)
            for path, leaf in named_leaves(parameters_of(target, self.parameters)).items()
            if is_parameter(leaf)
        }
        if not shapes or shapes == {"": ()}:  # a float that is an array: NumPy's
            raise PlanError(
                f"plan({reprlib.repr(target)}): expected a width (an integer), a model, or a tree of parameters "
                f"(arrays or shapes); found {type(target).__name__} without any (a linen module or haiku's "
                "Transformed has none: give what its init returned)"
            )
        return make_plan(
            self.parameters,
            shapes,
            recipe=recipe,
            form=form,
            base=self.base,
            width=width,
            depth_ratio=depth_ratio,
            batch_ratio=batch_ratio,
            token_ratio=token_ratio,
            sequence_ratio=sequence_ratio,
            logits=self.logits,
        )

    def init(self, width: int, seed: int = 0, *, plan: Plan | None = None) -> Any:
        """Builds a model of the family, initialised by the rule.

        The model's own initial values are multiplied by what is missing to the rule: `std ∝ m**p` is measured
        at base and delta for each parameter, p a multiple of 1/2, and the factor is `rule / m**p`. Values that
        are zero stay, and so do constant ones that the model does not itself multiply by a power of the width.
        At the base nothing is multiplied.

        Args:
          width: the target's.
          seed: goes to `build(width, seed)`; linen and haiku models are initialised with its key.
          plan: for this width; its recipe and form are used. By default `self.plan(width)`.

        Returns:
          The model (nnx, equinox), or its parameters (linen, haiku, a pair).

        Raises:
          TraceError: how the model's own initialisation depends on width is ambiguous, `build` takes no
            seed but one is given, or the family was loaded.
          PlanError: the plan is for other shapes.
          TypeError: `plan` is no plan.

        Example:
          >>> import jax, mupwd
          >>> def build(width, seed):
          ...     fn = lambda params, x: x @ params["up"] @ params["out"]
          ...     up, out = jax.random.split(jax.random.key(seed))
          ...     out = jax.random.normal(out, (width, 2)) * width**-0.5
          ...     return fn, {"up": jax.random.normal(up, (3, width)), "out": out}
          >>> family = mupwd.family(build, base=64, inputs=(jax.numpy.ones((5, 3)),))
          >>> print(f"{family.init(64, seed=1)['out'].std():.3f}, {family.init(1024, seed=1)['out'].std():.4f}")
          0.124, 0.0079

        Source: the rule is Tensor Programs V, arXiv 2203.03466, table 8; see docs/rules.md.
        """
        source = self._source("init")
        for name, value in (("width", width), ("seed", seed)):
            if isinstance(value, bool) or not isinstance(value, Integral):
                raise TraceError(f"init({name}={reprlib.repr(value)}): expected an integer")
        width, seed = int(width), int(seed)
        plan = self.plan(width) if plan is None else plan
        if seed and not source.seeded(width):
            raise TraceError(f"seed={seed}, but build takes no seed; define build(width, seed)")
        factors = self.init_factors(plan)
        model = source.make(width, seed)
        plan.check(jax.tree.map(lambda leaf: leaf if is_parameter(leaf) else None, model.params))

        def scaled(name: str, leaf: Any) -> Any:
            return leaf * jax.numpy.asarray(factors[name], leaf.dtype) if name in factors else leaf

        return model.rebuild(map_named(scaled, model.params))

    def init_factors(self, plan: Plan) -> dict[str, float]:
        """Returns what a plan's model's own initial values must be multiplied by, where that is not 1.

        Args:
          plan: of this family.

        Returns:
          `{path: factor}`, for code that initialises by itself, under a jit for instance.

        Raises:
          TraceError: as `init`.
          TypeError: `plan` is no plan.

        Example:
          >>> import jax, mupwd
          >>> def build(width, seed):
          ...     normal = lambda *shape: jax.random.normal(jax.random.key(seed), shape) * width**-0.5
          ...     fn = lambda params, tokens: params["embed"][tokens] @ params["out"]
          ...     return fn, {"embed": normal(100, width), "out": normal(width, 10)}
          >>> family = mupwd.family(build, base=64, inputs=(jax.numpy.zeros(5, int),))
          >>> family.init_factors(family.plan(256))  # the rule: an embedding's does not depend on width
          {'embed': 2.0, 'out': 0.5}
        """
        check_is_plan(plan)
        if all(p.init is None or (p.m_in == 1 and p.m_out == 1 and p.init == 1) for p in plan.values()):
            return {}
        return missing_factors(plan, self._own_exponents)

    def save(self, file: str | os.PathLike[str]) -> None:
        """Writes the roles as JSON, with a hash of the shapes; how to build models is not saved.

        Args:
          file: where to; replaced in one step.

        Raises:
          OSError: it cannot be written; what was there before is still there.

        Example:
          >>> import numpy as np, pathlib, tempfile, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     family.save(pathlib.Path(folder, "family.json"))
          ...     mupwd.Family.load(pathlib.Path(folder, "family.json")).plan(shapes(32))["up"].lr
          0.25
        """
        from mupwd.family.store import save

        save(self, file)

    @staticmethod
    def load(file: str | os.PathLike[str]) -> Family:
        """Reads a family that `save` wrote; it plans for parameters, `family.plan(params)`.

        Args:
          file: where from.

        Returns:
          A family with the same parameters and roles, which cannot build models.

        Raises:
          TraceError: the file is damaged, of a newer version, or its shapes do not match its hash.
          OSError: there is no such file (FileNotFoundError), or it cannot be read.

        Example:
          >>> import numpy as np, pathlib, tempfile, mupwd
          >>> shapes = lambda d: {"up": np.ones((d, 4 * d))}
          >>> family = mupwd.family_from_shapes(shapes(8), shapes(16), axes={"up": "in out"})
          >>> with tempfile.TemporaryDirectory() as folder:
          ...     family.save(pathlib.Path(folder, "family.json"))
          ...     mupwd.Family.load(pathlib.Path(folder, "family.json")).plan(shapes(32))["up"].lr
          0.25
        """
        from mupwd.family.store import load

        return load(file)

    @cached_property
    def _own_exponents(self) -> dict[str, float | None]:
        source = self._source("init")
        if self.base is None or self.delta is None:
            raise TraceError("init: this family has no widths")
        return own_exponents(source, self.parameters, self.base, self.delta)

    def _source(self, what: str) -> Source:
        if self.source is None:
            raise TraceError(
                f"{what}: this family was loaded or made from shapes and cannot build models; call "
                "family.plan(params) with the target's parameters (or their shapes), or make the family again "
                "with mupwd.family(build, …)"
            )
        return self.source
