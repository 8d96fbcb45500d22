"""The steady-state check: do top singular values and gains stay the same across widths after a long run?"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mupwd.diagnostics.powers import PowerFit, fit_powers
from mupwd.family import Family
from mupwd.plan import Plan
from mupwd.recipes import Recipe
from mupwd.transfer.steady_state import TIMESCALES, SteadyPoint, SteadyRun, gain_points, sigma_points
from mupwd.transfer.steady_trials import Train, check_widths, common_hyperparameters, steady_plans, trained

Verdict = Literal["pass", "fail", "undecided", "too short"]

TOLERANCE = 0.125
"""Of singular values, half of the least mistake: `sigma ∝ wd**-1/2`, so decay rules a half power apart differ by
1/4. Of gains twice as much: a residual branch multiplies by two matrices or more."""


@dataclass(frozen=True)
class SteadyLine:
    """The verdict on one kind of layer.

    Attributes:
      name: path of the parameter, or of the sublayer, with "*" for the layers.
      quantity: "sigma" (`sigma_1 * sqrt(fan_in / fan_out)`) or "gain".
      values: `{width: one per seed}`, geometric means over layers.
      verdict: "pass": the interval of the slope lies inside ± tolerance. "fail": outside. "too short": some run
        ended before the start was forgotten. Else "undecided".
      slope: power of the width ratio that the quantity follows; None where there was nothing to fit.
      interval: of the slope.
      decay: power of the width ratio that this run's weight decay followed; None for gains.
      elapsed: `{width: decay timescales of the least decayed run}`.
      steps: for "too short" `{width: steps that would be enough}`.
      more_seeds: for "undecided", further seeds at these widths that should decide; None where none would.
      more_widths: likewise further widths, each as far from the last as those that ran.
      note: what else is to be said; else empty.

    Example:
      >>> line = SteadyLine("layers/*/up", "sigma", {32: (1.0,), 64: (1.1,)}, "fail", slope=0.14, decay=0.5)
      >>> round(line.implied_decay, 2)  # a decay of ratio**0.78 in the place of ratio**0.5 would keep it
      0.78
    """

    name: str
    quantity: Literal["sigma", "gain"]
    values: Mapping[int, tuple[float, ...]]
    verdict: Verdict
    slope: float | None = None
    interval: tuple[float, float] | None = None
    decay: float | None = None
    elapsed: Mapping[int, float] | None = None
    steps: Mapping[int, int] | None = None
    more_seeds: int | None = None
    more_widths: int | None = None
    note: str = ""

    @property
    def implied_decay(self) -> float | None:
        """The power of the width ratio that the weight decay would have to follow for a slope of 0."""
        if self.slope is None or self.decay is None:
            return None
        return self.decay + 2 * self.slope


@dataclass(frozen=True)
class SteadyCheck:
    """What `steady_state_check` found.

    Attributes:
      recipe: the name of the rule that was checked.
      lines: singular values first, then gains.
      tolerance: of the slopes of singular values; that of gains is twice as much.
      level: of the intervals.
      diverged: the trials that diverged, in words.

    Example:
      >>> up, down = (SteadyLine(name, "sigma", {}, "pass", slope=0.01, decay=0.5) for name in ("up", "down"))
      >>> found = SteadyCheck("mupwd", (up, down), tolerance=0.125, level=0.95)
      >>> found.verdict, up.implied_decay
      ('pass', 0.52)
    """

    recipe: str
    lines: tuple[SteadyLine, ...]
    tolerance: float
    level: float
    diverged: tuple[str, ...] = ()

    @property
    def verdict(self) -> Literal["pass", "fail", "undecided"]:
        """ "fail" where one line fails, "pass" where all pass, else "undecided"."""
        verdicts = {line.verdict for line in self.lines}
        if "fail" in verdicts:
            return "fail"
        return "pass" if verdicts == {"pass"} else "undecided"

    def __str__(self) -> str:
        from mupwd.transfer.steady_words import steady_words

        return steady_words(self)


def steady_state_check(
    train: Train,
    family: Family,
    hyperparameters: Mapping[str, Any],
    recipe: str | Recipe = "mupwd",
    widths: Sequence[int] = (32, 64, 128),
    seeds: Sequence[int] = (0, 1, 2),
    tolerance: float = TOLERANCE,
    level: float = 0.95,
) -> SteadyCheck:
    """Trains past the decay timescale of every matrix and looks whether singular values depend on the width.

    AdamW drives a matrix to `sigma ∝ sqrt(lr / wd) * m**e`. A rule whose decay has the right power of the width
    ratio m keeps `sigma_1 * sqrt(fan_in / fan_out)`, and the gain of every sublayer, the same at all widths.
    Neither is visible at initialisation. Fits the slope of each in log2 m, for each kind of layer, and compares
    it with 0.

    Args:
      train: `train(width, hyperparameters, seed, directory) -> metrics`, such as `mupwd.proxy.train`. The
        metrics hold `spectral/<path>/sigma_1` (or its mean over the last quarter of the steps, with
        `_last_quarter` behind it), `train/decay_elapsed` (the sum of `lr_t * weight_decay` over the steps, at the
        base), `step`, and, where gains are to be judged, `gain/<sublayer>`. A "status" of "diverged" is
        reported.
      family: of the model that `train` trains; its plans say what each parameter's decay is.
      hyperparameters: what all trials have in common: "learning_rate" and "weight_decay" (coupled), both at the
        base, and whatever `train` wants. "recipe" and "base" are added.
      recipe: the rule to check.
      widths: three or more.
      seeds: of the trials at each width.
      tolerance: of the slopes of singular values: half of what decay rules a half power of width apart differ by;
        of gains twice as much, for a residual branch multiplies by two matrices or more.
      level: of the intervals.

    Returns:
      A line and a verdict per kind of layer; printed, it is a table.

    Raises:
      ValueError: fewer than three widths, no seed, no learning rate or decay above 0, or nothing that decays: before
        anything is trained. A metric is missing: after the first trial.
      TypeError: seeds are given by their number.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> def build(width):
      ...     fn = lambda params, x: jax.nn.relu(x @ params["up"] @ params["hidden"]) @ params["out"]
      ...     return fn, {
      ...         "up": jnp.ones((3, width)), "hidden": jnp.ones((width, width)), "out": jnp.ones((width, 2))
      ...     }
      >>> family = mupwd.family(build, base=32, inputs=(jnp.ones((5, 3)),))
      >>> def train(width, hyperparameters, seed, directory):  # yours trains, and returns what it measured
      ...     sigma = 2.0 + 0.01 * seed
      ...     return {"spectral/hidden/sigma_1": sigma, "train/decay_elapsed": 20.0, "step": 1000}
      >>> found = steady_state_check(train, family, {"learning_rate": 2**-7, "weight_decay": 0.5})
      >>> found.verdict, [(line.name, line.verdict, round(line.slope, 3)) for line in found.lines]
      ('pass', [('hidden', 'pass', 0.0)])
    """
    check_widths(widths, seeds)
    given = common_hyperparameters(hyperparameters, family, recipe)
    plans = steady_plans(family, widths, recipe)
    runs = [trained(train, width, given, seed, plans) for width in widths for seed in seeds]
    return judge_steady_state(runs, plans, tolerance, level)


def judge_steady_state(
    runs: Iterable[SteadyRun], plans: Mapping[int, Plan], tolerance: float = TOLERANCE, level: float = 0.95
) -> SteadyCheck:
    """Judges finished trials of one recipe, learning rate and decay.

    Args:
      runs: the trials.
      plans: `{width: plan}`.
      tolerance: as for `steady_state_check`.
      level: of the intervals.

    Raises:
      ValueError: a metric is missing, the trials differ in learning rate or decay, or have no decay.
    """
    runs = list(runs)
    pairs = {(run.learning_rate, run.weight_decay) for run in runs}
    if len(pairs) != 1:
        raise ValueError(
            f"steady state: expected trials at one learning rate and decay, found {sorted(pairs)}; judge each alone"
        )
    if any(rate * decay == 0 for rate, decay in pairs):
        raise ValueError(
            "steady state: at weight decay 0, or learning rate 0, nothing is forgotten and there is no steady state"
        )
    finished = [run for run in runs if not run.diverged]
    diverged = tuple(str(run) for run in runs if run.diverged)
    lost = sorted(set(plans) - {run.width for run in finished})
    if lost:
        raise ValueError(
            f"steady state: every trial at width {', '.join(map(str, lost))} diverged; lower the learning rate"
        )
    lines = [
        _line(name, "sigma", points, plans, tolerance, level)
        for name, points in sigma_points(finished, plans).items()
    ] + [
        _line(name, "gain", points, plans, 2 * tolerance, level)
        for name, points in gain_points(finished, plans).items()
    ]
    recipe = next(iter(plans.values())).recipe
    return SteadyCheck(recipe, tuple(lines), tolerance, level, diverged)


def _line(
    name: str,
    quantity: Literal["sigma", "gain"],
    points: Sequence[SteadyPoint],
    plans: Mapping[int, Plan],
    tolerance: float,
    level: float,
) -> SteadyLine:
    widths = sorted({point.run.width for point in points})
    values = {width: tuple(one.value for one in points if one.run.width == width) for width in widths}
    elapsed = {width: min(one.elapsed for one in points if one.run.width == width) for width in widths}
    decay = decay_power(points) if quantity == "sigma" else None
    if missing := sorted(set(plans) - set(widths)):
        note = f"not measured at width {', '.join(map(str, missing))}"
        return SteadyLine(name, quantity, values, "undecided", elapsed=elapsed, note=note)
    bad = [str(one.run) for one in points if not (math.isfinite(one.value) and one.value > 0)]
    if bad:
        note = f"not a finite number above 0 in {len(bad)} of {len(points)} trials, such as {bad[0]}"
        return SteadyLine(name, quantity, values, "fail", decay=decay, elapsed=elapsed, note=note)
    fit = fit_powers({"ratio": [one.ratio for one in points]}, [one.value for one in points], level)
    slope = fit.exponents["ratio"]
    common = (slope.value, slope.interval, decay, elapsed)
    if steps := enough_steps(points):
        return SteadyLine(name, quantity, values, "too short", *common, steps=steps)
    verdict = compared(slope.interval, 0.0, tolerance)
    if verdict != "undecided":
        return SteadyLine(name, quantity, values, verdict, *common)
    seeds, more_widths = _advice(fit, slope.value, tolerance, len(points) // len(widths))
    return SteadyLine(name, quantity, values, verdict, *common, more_seeds=seeds, more_widths=more_widths)


def compared(
    interval: tuple[float, float] | None, predicted: float, tolerance: float
) -> Literal["pass", "fail", "undecided"]:
    """Where an interval lies: inside `predicted ± tolerance`, wholly outside, or neither.

    Example:
      >>> compared((-0.1, 0.1), 0.0, 0.125), compared((0.2, 0.3), 0.0, 0.125), compared(None, 0.0, 0.125)
      ('pass', 'fail', 'undecided')
    """
    if interval is None:
        return "undecided"
    low, high = interval[0] - predicted, interval[1] - predicted
    if -tolerance <= low and high <= tolerance:
        return "pass"
    return "fail" if low > tolerance or high < -tolerance else "undecided"


def enough_steps(points: Iterable[SteadyPoint]) -> dict[int, int]:
    """Returns `{width: steps that would be enough}`; empty where all runs were long enough.

    The steps of a run are stretched, schedule and all, until `TIMESCALES` have gone by.
    """
    points = list(points)
    if all(one.elapsed >= TIMESCALES * (1 - 1e-6) for one in points):
        return {}
    steps: dict[int, int] = {}
    for one in points:
        done = one.run.metrics.get("step")
        if done is None:
            raise ValueError(
                f"steady state: the trial at {one.run} returned no 'step', the number of steps that it did; return it "
                "with its metrics"
            )
        needed = math.ceil(float(done) * TIMESCALES / one.elapsed) if one.elapsed > 0 else 0
        steps[one.run.width] = max(steps.get(one.run.width, 0), needed)
    return steps


def decay_power(points: Sequence[SteadyPoint]) -> float:
    """Returns the power of the width ratio that the plans' weight decay follows, from narrowest to widest."""
    low = min(points, key=lambda point: point.ratio)
    high = max(points, key=lambda point: point.ratio)
    grows = (high.weight_decay / high.run.weight_decay) / (low.weight_decay / low.run.weight_decay)
    return math.log(grows) / math.log(high.ratio / low.ratio)


def _advice(fit: PowerFit, slope: float, tolerance: float, seeds: int) -> tuple[int | None, int | None]:
    """Further seeds, and further widths, that would put the interval on one side of the tolerance."""
    room = abs(abs(slope) - tolerance)
    if not room:
        return None, None
    wanted = fit.seeds_needed("ratio", room)
    return None if wanted is None else max(wanted - seeds, 1), fit.points_needed("ratio", room)
