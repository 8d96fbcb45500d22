"""The exponent e of `sigma ∝ sqrt(lr / wd) * m**e`, measured per kind of layer, and the decay rule it implies."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple

from mupwd.diagnostics.powers import Exponent, PowerFit, fit_powers
from mupwd.family import Family
from mupwd.plan import Plan
from mupwd.recipes import Recipe, fitted
from mupwd.transfer.steady import compared, decay_power, enough_steps
from mupwd.transfer.steady_state import SteadyPoint, SteadyRun, sigma_points
from mupwd.transfer.steady_trials import Train, check_widths, common_hyperparameters, steady_plans, trained

Judgement = Literal["holds", "fails", "undecided"]

TOLERANCE = 0.125
"""Of the exponents of learning rate and decay, which theory says are ± 1/2."""

RULES = {"constant": 0.0, "sqrt": 0.5, "linear": 1.0}
"""The decay rules of the literature, as powers of the width ratio under `lr ∝ 1/m`."""

_TELLS_APART = 0.25
_THEORY = {"learning_rate": 0.5, "weight_decay": -0.5}
_JUDGEMENTS: Mapping[Literal["pass", "fail", "undecided"], Judgement] = {
    "pass": "holds",
    "fail": "fails",
    "undecided": "undecided",
}


class StarPoint(NamedTuple):
    """One point of the design: a width and the base's learning rate and (coupled) weight decay."""

    width: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class ModuleExponent:
    """The fit of one kind of layer.

    Attributes:
      name: path of the parameters, with "*" for the layers.
      free: `sigma ∝ lr**a * wd**b * ratio**e` with all three free; lr and wd are the parameters' own.
      imposed: the same with a = 1/2 and b = -1/2.
      run: `sigma ∝ LR**a * WD**b * ratio**slope` with the base's learning rate and decay: how sigma moves with
        the width under the rule that the trials ran under.
      run_decay: the power of the width ratio that the weight decay of the trials followed.
      learning_rate: whether a is 1/2: "holds" where its interval lies inside ± 1/8 of it, "fails" where wholly
        outside.
      weight_decay: likewise b and -1/2.
      note: why there is no fit; else empty.

    Example:
      >>> rates, decays, widths = [1, 1, 1, 2, 1], [1, 1, 1, 1, 2], [1, 2, 4, 1, 1]
      >>> points = zip(rates, decays, widths, strict=True)
      >>> sigma = [(rate / decay) ** 0.5 * ratio**0.75 * 1.001**i for i, (rate, decay, ratio) in enumerate(points)]
      >>> columns = {"learning_rate": rates, "weight_decay": decays, "ratio": widths}
      >>> free = fit_powers(columns, sigma)
      >>> imposed = fit_powers(columns, sigma, known={"learning_rate": 0.5, "weight_decay": -0.5})
      >>> found = ModuleExponent("up", free, imposed, free, 0.5, "holds", "holds")
      >>> round(found.e.value, 2), found.theory_holds
      (0.75, True)
    """

    name: str
    free: PowerFit | None
    imposed: PowerFit | None
    run: PowerFit | None
    run_decay: float
    learning_rate: Judgement
    weight_decay: Judgement
    note: str = ""

    @property
    def theory_holds(self) -> bool:
        """Whether nothing speaks against a = 1/2 and b = -1/2, so that they are imposed."""
        return "fails" not in (self.learning_rate, self.weight_decay)

    @property
    def e(self) -> Exponent | None:
        """The width exponent: with ± 1/2 imposed if they hold; else the free one."""
        fit = self.imposed if self.theory_holds else self.free
        return fit and fit.exponents["ratio"]

    @property
    def decay(self) -> Exponent | None:
        """The power of the width ratio that the weight decay must follow for an invariant sigma, if lr ∝ 1/m.

        `2e - 1`, from `-a + b * p + e = 0`. Where ± 1/2 fail, `run_decay - slope / b`: as far from the decay of the
        trials as their slope asks for, by the b that was measured; without an interval where b may be 0.
        """
        if self.e is None or self.run is None:
            return None
        if self.theory_holds:
            interval = self.e.interval and (2 * self.e.interval[0] - 1, 2 * self.e.interval[1] - 1)
            return Exponent(2 * self.e.value - 1, interval)
        slope, b = self.run.exponents["ratio"], self.run.exponents["weight_decay"]
        value = self.run_decay - slope.value / b.value if b.value else math.nan
        if b.half_width >= abs(b.value):
            return Exponent(value, None)
        # To first order; the two are independent, as the star's decays lie evenly about those of the widths.
        half = math.hypot(slope.half_width / b.value, slope.value * b.half_width / b.value**2)
        return Exponent(value, (value - half, value + half) if math.isfinite(half) else None)

    @property
    def supports(self) -> tuple[str, ...] | None:
        """The rules of the literature that the interval of the decay's power holds; None: too wide to tell."""
        decay = self.decay
        if decay is None or decay.interval is None or decay.half_width > _TELLS_APART:
            return None
        low, high = decay.interval
        return tuple(name for name, power in RULES.items() if low <= power <= high)


@dataclass(frozen=True)
class ExponentFit:
    """What `fit_exponent` found.

    Attributes:
      modules: one per kind of layer.
      recipe: the name of the rule that the trials ran under.
      level: of the intervals.
      steps: `{width: steps that would be enough}` where some run was too short; then nothing is fitted.
      diverged: the trials that diverged, in words, and were left out.

    Example:
      >>> nothing = ExponentFit((), "mupwd", level=0.95, steps={128: 4000})
      >>> nothing.verdict, nothing.exponents
      ('undecided', {})
    """

    modules: tuple[ModuleExponent, ...]
    recipe: str
    level: float
    steps: Mapping[int, int]
    diverged: tuple[str, ...] = ()

    @cached_property
    def exponents(self) -> dict[str, float]:
        """`{pattern of paths: e}`, for `mupwd.recipes.fitted`; e such that `width**(2e - 1)` is the decay."""
        decays = {one.name: one.decay for one in self.modules if one.decay is not None}
        return {
            pattern(name): round((decay.value + 1) / 2, 3)
            for name, decay in decays.items()
            if math.isfinite(decay.value)
        }

    @property
    def fitted(self) -> Recipe:
        """The recipe to pass as `recipe=`: the mupwd recipe with the measured exponents.

        Raises:
          ValueError: nothing could be fitted, or some kind of layer could not.
        """
        lost = [one.name for one in self.modules if pattern(one.name) not in self.exponents]
        if lost or not self.modules:
            raise ValueError(
                f"no exponent was measured for {', '.join(lost) or 'any layer'}: printed, the check says why; name a "
                "recipe instead"
            )
        return fitted(self.exponents)

    @property
    def verdict(self) -> Literal["pass", "fail", "undecided"]:
        """ "pass": every kind of layer has a decay rule. "undecided": some interval is too wide, or some run was
        too short. "fail": sigma does not follow `sqrt(lr / wd)`.
        """
        if any(not one.theory_holds for one in self.modules):
            return "fail"
        decided = bool(self.modules) and all(one.supports is not None for one in self.modules)
        return "pass" if decided and not self.steps else "undecided"

    def __str__(self) -> str:
        from mupwd.transfer.exponent_words import exponent_words

        return exponent_words(self)


def star(
    widths: Sequence[int], learning_rate: float, weight_decay: float, factor: float = 2.0
) -> list[StarPoint]:
    """Returns the points to run: the base's pair at every width, and its neighbours at the narrowest.

    Args:
      widths: three or more.
      learning_rate: in the middle, of the base.
      weight_decay: likewise, coupled.
      factor: between neighbours.

    Example:
      >>> len(star((32, 64, 128), 2**-7, 4.0))
      7
    """
    if not factor > 1:
        raise ValueError(f"factor: expected a number above 1, got {factor}")
    centre = [StarPoint(width, learning_rate, weight_decay) for width in widths]
    arms = [(factor, 1.0), (1 / factor, 1.0), (1.0, factor), (1.0, 1 / factor)]
    narrow = min(widths)
    return centre + [StarPoint(narrow, learning_rate * lr, weight_decay * wd) for lr, wd in arms]


def fit_exponent(
    train: Train,
    family: Family,
    hyperparameters: Mapping[str, Any],
    recipe: str | Recipe = "mupwd",
    widths: Sequence[int] = (32, 64, 128),
    seeds: Sequence[int] = (0, 1, 2),
    factor: float = 2.0,
    level: float = 0.95,
) -> ExponentFit:
    """Measures e in `sigma ∝ sqrt(lr / wd) * m**e` per kind of layer, and the decay rule `m**(2e - 1)`.

    Args:
      train: as in `steady_state_check`.
      family: of the model that `train` trains.
      hyperparameters: as in `steady_state_check`; "learning_rate" and "weight_decay" are the middle of a star.
      recipe: the rule that the trials run under; the exponent is that of the parameters' own learning rates and
        decays, so that any rule will do.
      widths: three or more.
      seeds: of the trials at each point.
      factor: by which learning rate and decay are raised and lowered, at the narrowest width.
      level: of the intervals.

    Returns:
      A fit per kind of layer; printed, it is a table and the recipe to use.

    Raises:
      ValueError: as in `steady_state_check`.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> def build(width):
      ...     fn = lambda params, x: jax.nn.relu(x @ params["up"] @ params["hidden"]) @ params["out"]
      ...     return fn, {
      ...         "up": jnp.ones((3, width)), "hidden": jnp.ones((width, width)), "out": jnp.ones((width, 2))
      ...     }
      >>> family = mupwd.family(build, base=32, inputs=(jnp.ones((5, 3)),))
      >>> def train(width, hyperparameters, seed, directory):  # yours trains, and returns what it measured
      ...     sigma = (hyperparameters["learning_rate"] / hyperparameters["weight_decay"]) ** 0.5 + 1e-4 * seed
      ...     return {"spectral/hidden/sigma_1": sigma, "train/decay_elapsed": 20.0, "step": 1000}
      >>> found = fit_exponent(train, family, {"learning_rate": 2**-7, "weight_decay": 0.5})
      >>> found.verdict, found.exponents, found.modules[0].supports
      ('pass', {'hidden': 0.75}, ('sqrt',))
    """
    check_widths(widths, seeds)
    common = common_hyperparameters(hyperparameters, family, recipe)
    plans = steady_plans(family, widths, recipe)
    runs = []
    for width, learning_rate, weight_decay in star(
        widths, common["learning_rate"], common["weight_decay"], factor
    ):
        given = {**common, "learning_rate": learning_rate, "weight_decay": weight_decay}
        runs += [trained(train, width, given, seed, plans) for seed in seeds]
    return exponent_from_runs(runs, plans, level)


def exponent_from_runs(
    runs: Iterable[SteadyRun], plans: Mapping[int, Plan], level: float = 0.95
) -> ExponentFit:
    """Fits finished trials that vary width, learning rate and decay.

    Args:
      runs: the trials, of any widths that have plans; those that diverged are left out and reported.
      plans: `{width: plan}`.
      level: of the intervals.

    Raises:
      ValueError: a metric is missing, or the trials do not vary all three.
    """
    runs = list(runs)
    finished = [run for run in runs if not run.diverged]
    recipe = next(iter(plans.values())).recipe
    kinds = sigma_points(finished, plans)
    steps: dict[int, int] = {}
    for points in kinds.values():
        for width, needed in enough_steps(points).items():
            steps[width] = max(steps.get(width, 0), needed)
    modules = () if steps else tuple(_module(name, points, level) for name, points in kinds.items())
    return ExponentFit(modules, recipe, level, steps, tuple(str(run) for run in runs if run.diverged))


def _module(name: str, points: Sequence[SteadyPoint], level: float) -> ModuleExponent:
    bad = [str(one.run) for one in points if not (math.isfinite(one.value) and one.value > 0)]
    if bad:
        note = f"sigma is not a finite number above 0 in {len(bad)} of {len(points)} trials, such as {bad[0]}"
        return ModuleExponent(name, None, None, None, math.nan, "undecided", "undecided", note)
    ratio, values = [one.ratio for one in points], [one.value for one in points]
    own = {
        "learning_rate": [one.learning_rate for one in points],
        "weight_decay": [one.weight_decay for one in points],
        "ratio": ratio,
    }
    base = {
        "learning_rate": [one.run.learning_rate for one in points],
        "weight_decay": [one.run.weight_decay for one in points],
        "ratio": ratio,
    }
    try:
        free = fit_powers(own, values, level)
    except ValueError as error:
        raise ValueError(
            f"exponent: {error}. Needed: three widths, and at one of them two more learning rates and decays"
        ) from error
    judged: dict[str, Judgement] = {
        column: _JUDGEMENTS[compared(free.exponents[column].interval, theory, TOLERANCE)]
        for column, theory in _THEORY.items()
    }
    imposed, run = fit_powers(own, values, level, known=_THEORY), fit_powers(base, values, level)
    return ModuleExponent(
        name, free, imposed, run, decay_power(points), judged["learning_rate"], judged["weight_decay"]
    )


def pattern(name: str) -> str:
    """Returns the regular expression of the paths whose layer numbers are "*" in a name.

    Example:
      >>> pattern("layers/*/mlp/up/kernel")
      'layers/\\\\d+/mlp/up/kernel'
    """
    return r"\d+".join(re.escape(part) for part in name.split("*"))
