"""What finished trials say of the steady state: singular values and gains per kind of layer, and how far along
each parameter is.

AdamW forgets a parameter's start at the rate of its decay: with `tau = sum over steps of lr_t * wd`, its own
learning rate and decay, the part of `sigma**2` that is left of the initial value is `exp(-2 tau)`.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mupwd.diagnostics.matrices import layout_of
from mupwd.plan import ParameterPlan, Plan
from mupwd.plan.layers import starred

ELAPSED = "train/decay_elapsed"
"""The metric of a trial that says how much it decayed: the sum of `lr_t * wd` over its steps, at the base."""

LATE = "_last_quarter"
"""Ends the name of a metric that is the mean over the last quarter of the run's steps."""

TIMESCALES = 3.0
"""Decay timescales `1 / (lr * wd)` that a run must last.

Over its last quarter the mean of `exp(-2 tau)` is then 0.6 %: a start at twice the steady singular value moves
the mean by 0.012 octaves, at four times by 0.06, and a slope over two doublings of width by half of that.
"""

_JUDGED = ("matrix", "narrow")
_SIGMA = re.compile(rf"spectral/(?P<path>.+)/sigma_1(?P<late>{LATE})?")
_GAIN = re.compile(rf"gain/(?P<path>.+?)(?P<late>{LATE})?")
_COPY = re.compile(r"(.*)\[[\d,]+\]")


@dataclass(frozen=True)
class SteadyRun:
    """A finished trial.

    Attributes:
      width: of the model.
      learning_rate: the base's peak.
      weight_decay: the base's, coupled: a step decays by `lr_t * wd * w`.
      seed: of the initial values and the data.
      metrics: what the trial returned. `spectral/<path>/sigma_1` and `gain/<sublayer>` are read, or rather
        their means over the last quarter of the steps (`..._last_quarter`) where the trial has them;
        `train/decay_elapsed`; `step`; `status`.
    """

    width: int
    learning_rate: float
    weight_decay: float
    seed: int
    metrics: Mapping[str, Any]

    @property
    def diverged(self) -> bool:
        """Whether the trial ended before its last step."""
        return self.metrics.get("status") == "diverged"

    def __str__(self) -> str:
        return (
            f"width {self.width}, learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}, "
            f"seed {self.seed}"
        )


@dataclass(frozen=True)
class SteadyPoint:
    """One kind of layer in one trial.

    Attributes:
      run: the trial.
      value: geometric mean, over the layers of this kind, of `sigma_1 * sqrt(fan_in / fan_out)` or of the
        gain; not finite or 0 where one of them was.
      ratio: `m_in`, the width ratio that recipes take powers of; for gains the ratio of the widths.
      learning_rate: of these parameters: the base's times the plan's factor; the base's own for gains.
      weight_decay: likewise, coupled.
      elapsed: decay timescales that the least decayed of these parameters has behind it.
    """

    run: SteadyRun
    value: float
    ratio: float
    learning_rate: float
    weight_decay: float
    elapsed: float


def judged_parameters(plan: Plan) -> dict[str, ParameterPlan]:
    """Returns the parameters that reach a steady state: matrix and narrow ones that decay.

    Args:
      plan: of one width.

    Raises:
      ValueError: there are none.
    """
    found = {path: one for path, one in plan.items() if one.role in _JUDGED and one.wd != 0}
    if not found:
        raise ValueError(
            f"steady state: recipe {plan.recipe!r} decays no matrix of this model; without weight decay there is "
            "no steady state to look at"
        )
    return found


def decay_elapsed(run: SteadyRun, parameter: ParameterPlan) -> float:
    """Returns how many decay timescales of its own a parameter has behind it.

    Args:
      run: a trial; its `train/decay_elapsed` is the base's.
      parameter: of the plan of the trial's width.

    Raises:
      ValueError: the trial has no such metric.
    """
    if ELAPSED not in run.metrics:
        raise ValueError(
            f"steady state: the trial at {run} returned no {ELAPSED!r}: the sum of lr_t * weight_decay over its "
            "steps, at the base's learning rate and decay; without it nobody can tell whether it ran long enough"
        )
    return float(run.metrics[ELAPSED]) * parameter.lr * parameter.wd


def sigma_points(runs: Iterable[SteadyRun], plans: Mapping[int, Plan]) -> dict[str, list[SteadyPoint]]:
    """Returns the top singular values of trials, by kind of layer.

    Args:
      runs: finished trials.
      plans: `{width: plan}`.

    Returns:
      `{path with layers as "*": one point per trial}`.

    Raises:
      ValueError: a trial lacks the singular values of a parameter that has a steady state, or how much it
        decayed.
    """
    points: dict[str, list[SteadyPoint]] = defaultdict(list)
    for run in runs:
        plan = plans[run.width]
        kinds: dict[str, list[str]] = defaultdict(list)
        for path in judged_parameters(plan):
            kinds[starred(path)].append(path)
        measured = _measured(run.metrics, _SIGMA)
        for kind, paths in kinds.items():
            missing = [path for path in paths if path not in measured]
            if missing:
                raise ValueError(
                    f"steady state: the trial at {run} returned no 'spectral/{missing[0]}/sigma_1'; track the "
                    "spectra in it (mupwd.track_spectrum; observe_every of the proxy) and return its metrics"
                )
            values = [one * rms_factor(plan[path]) for path in paths for one in measured[path]]
            factors = [plan[path] for path in paths]
            points[kind].append(
                SteadyPoint(
                    run,
                    _geometric_mean(values),
                    _geometric_mean([one.m_in for one in factors]),
                    run.learning_rate * _geometric_mean([one.lr for one in factors]),
                    run.weight_decay * _geometric_mean([one.wd for one in factors]),
                    min(decay_elapsed(run, one) for one in factors),
                )
            )
    return dict(points)


def gain_points(runs: Iterable[SteadyRun], plans: Mapping[int, Plan]) -> dict[str, list[SteadyPoint]]:
    """Returns the gains of sublayers, by kind; a gain is steady where all matrices of the model are.

    Args:
      runs: finished trials, with or without `gain/...` metrics.
      plans: `{width: plan}`.

    Returns:
      `{sublayer with layers as "*": one point per trial}`; empty where the trials have no gains.
    """
    points: dict[str, list[SteadyPoint]] = defaultdict(list)
    base = min(plans)
    for run in runs:
        elapsed = min(decay_elapsed(run, one) for one in judged_parameters(plans[run.width]).values())
        kinds: dict[str, list[float]] = defaultdict(list)
        for sublayer, values in _measured(run.metrics, _GAIN).items():
            kinds[starred(sublayer)] += values
        for kind, values in kinds.items():
            one = _geometric_mean(values)
            points[kind].append(
                SteadyPoint(run, one, run.width / base, run.learning_rate, run.weight_decay, elapsed)
            )
    return dict(points)


def steps_needed(plans: Iterable[Plan], learning_rate: float, weight_decay: float, warmup: int = 0) -> int:
    """Returns the steps at a constant learning rate after which every matrix has decayed long enough.

    `TIMESCALES / (lr * wd)` with the parameter's own learning rate and decay, for the slowest one, and half
    of the linear warmup, in which it decays half as much.

    Args:
      plans: of all widths.
      learning_rate: the base's.
      weight_decay: the base's, coupled.
      warmup: steps of linear warmup.

    Raises:
      ValueError: nothing decays.
    """
    if not learning_rate * weight_decay > 0:
        raise ValueError(
            f"steady state: with learning rate {learning_rate:g} and weight decay {weight_decay:g} nothing decays; "
            "give both above 0"
        )
    slowest = min(one.lr * one.wd for plan in plans for one in judged_parameters(plan).values())
    return math.ceil(TIMESCALES / (learning_rate * weight_decay * slowest) + warmup / 2)


def rms_factor(parameter: ParameterPlan) -> float:
    """Returns `sqrt(fan_in / fan_out)`, which turns a singular value into the gain from RMS to RMS.

    Args:
      parameter: of a plan; of fused copies, each one's.

    Raises:
      ValueError: it is not a matrix.
    """
    layout = layout_of(parameter)
    if layout is None:
        raise ValueError(
            f"steady state: {parameter.path} ({parameter.role}) is no matrix: it has no fan-in and fan-out"
        )
    return math.sqrt(layout.size(layout.fan_in) / layout.size(layout.fan_out))


def _measured(metrics: Mapping[str, Any], pattern: re.Pattern[str]) -> dict[str, list[float]]:
    """`{path: one value per copy}`, late means where there are any."""
    found: dict[bool, dict[str, list[float]]] = {True: defaultdict(list), False: defaultdict(list)}
    for name, value in metrics.items():
        if match := pattern.fullmatch(name):
            copy = _COPY.fullmatch(match["path"])
            found[match["late"] is not None][copy[1] if copy else match["path"]].append(float(value))
    return {**found[False], **found[True]}


def _geometric_mean(values: Iterable[float]) -> float:
    values = np.array(list(values), dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.exp(np.log(values).mean()))
