"""How well optima follow a power of the width, and what the loss makes of missing one, as the width grows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from mupwd.transfer.drift import slopes
from mupwd.transfer.observations import Estimate
from mupwd.transfer.optimum import Optimum

SIGMAS = 1.96
"""Half of a 95 % interval, as all optima have, in standard deviations."""

_LARGE = 1e4
"""Of a noncentral chi-square, whose root is normal by then."""


@dataclass(frozen=True)
class TransferLaw:
    """How far the law `optimum ∝ width**p` can be trusted, for one hyperparameter.

    Attributes:
      fit_error: octaves by which an optimum lies off the law, root mean square; the interval is what is left of
        it besides the noise of the optima. None where unknown.
      robustness: κ in `curvature ∝ width**κ`, the loss per squared octave that an error of the hyperparameter
        costs: below 0 where wide models forgive more. None where unknown.
      missing: `{attribute: why it is None}`.

    Example:
      >>> law = transfer_law({})
      >>> law.fit_error, law.missing["fit_error"]
      (None, 'three widths or more are needed, there are 0')
    """

    fit_error: Estimate | None
    robustness: Estimate | None
    missing: dict[str, str]


def transfer_law(optima: Mapping[int, Optimum], level: float = 0.95) -> TransferLaw:
    """Judges the power law of fitted optima in the width: its misfit, and how robust the loss is to it.

    fit error: `sqrt(sum (x_n - line_n)² / (widths - 2))` with x the log2 of the optimum and the line fitted by least
    squares in log2 of the width. Its interval inverts the noncentral chi-square of that sum, with the mean variance
    of the optima as the noise: it starts at 0 where noise explains all of the misfit.

    robustness: slope of log2 of the parabolas' curvature over log2 of the width; interval from the draws of the
    optima's fits.

    Args:
      optima: `{width: optimum}`.
      level: of the intervals.

    Returns:
      Both numbers; None with the reason where there are fewer than three widths, an optimum at the edge of its
      grid, or one without an interval or upward curvature.

    Example:
      >>> from mupwd.transfer import fit_optimum
      >>> losses = lambda best, width: {2.0**k: {0: (k - best) ** 2 / width} for k in range(-9, -3)}
      >>> best = {32: -5.0, 64: -5.5, 128: -6.0}
      >>> law = transfer_law({width: fit_optimum(losses(best[width], width)) for width in best})
      >>> round(law.fit_error.value, 3), round(law.robustness.value, 3)
      (0.0, -1.0)

    After the first two of three quantities that Kalra and Barkeshli name (arXiv 2605.21486): "the quality of the
    scaling law fit" and "the robustness to extrapolation errors". The definitions are ours: docs/transfer.md.
    """
    widths = sorted(optima)
    why = _why_not(widths, optima)
    if why:
        return TransferLaw(None, None, {"fit_error": why, "robustness": why})
    error = _fit_error(widths, optima, level)
    robustness = _robustness(widths, optima, level)
    if isinstance(robustness, str):
        return TransferLaw(error, None, {"robustness": robustness})
    return TransferLaw(error, robustness, {})


def _why_not(widths: list[int], optima: Mapping[int, Optimum]) -> str:
    if len(widths) < 3:
        return f"three widths or more are needed, there are {len(widths)}"
    for words, bad in (
        ("at the edge of the grid: extend it", lambda one: one.edge in ("low", "high")),
        (
            "no minimum that curves upwards: add seeds",
            lambda one: one.edge == "flat" or not one.curvature > 0,
        ),
        ("no interval: add seeds", lambda one: one.interval is None),
    ):
        if at := [str(width) for width in widths if bad(optima[width])]:
            return f"width {', '.join(at)}: {words}"
    return ""


def _fit_error(widths: list[int], optima: Mapping[int, Optimum], level: float) -> Estimate:
    x = np.log2(np.array(widths, dtype=float))
    design = np.column_stack([np.ones_like(x), x])
    rest = np.eye(len(x)) - design @ np.linalg.pinv(design)
    positions = np.array([optima[width].log2 for width in widths])
    freedom = len(x) - 2
    squares = max(float(positions @ rest @ positions), 0.0)  # rounded, it may lie below
    value = math.sqrt(squares / freedom)
    # Of the interval, not of the draws: Student's tails have no variance at few degrees of freedom.
    deviations = np.array([np.ptp(optima[width].interval or (0.0, 0.0)) / (2 * SIGMAS) for width in widths])
    variance = float(np.diag(rest) @ deviations**2) / freedom
    if not variance:
        return Estimate(value, (value, value))
    ends = [
        math.sqrt(_noncentrality(squares / variance, freedom, tail) * variance / freedom)
        for tail in ((1 + level) / 2, (1 - level) / 2)
    ]
    return Estimate(value, (ends[0], ends[1]))


def _noncentrality(statistic: float, freedom: int, probability: float) -> float:
    """The one at which a noncentral chi-square lies below the statistic with this probability; 0 if none does."""
    from scipy.optimize import root_scalar

    if special.chdtr(freedom, statistic) <= probability:
        return 0.0
    if statistic > _LARGE:
        return float(math.sqrt(statistic) - special.ndtri(probability)) ** 2
    high = 4 * (statistic + freedom) + 100.0
    found = root_scalar(
        lambda one: special.chndtr(statistic, freedom, one) - probability,
        bracket=(1e-12, high),
        method="brentq",
    )
    return float(found.root)


def _robustness(widths: list[int], optima: Mapping[int, Optimum], level: float) -> Estimate | str:
    value = float(slopes(widths, np.log2([[optima[width].curvature] for width in widths]))[0])
    drawn = []
    for index, width in enumerate(widths):
        draws = optima[width].curvatures
        rising = draws[draws > 0]
        if not draws.size or len(rising) / len(draws) < level:
            return f"width {width}: the curvature may be 0: add seeds"
        # Every optimum was drawn from the same stream of random numbers: shuffled, and all of one length.
        rng = np.random.default_rng(index)
        drawn.append(np.log2(rng.choice(rising, len(draws))))
    low, high = np.quantile(slopes(widths, np.stack(drawn)), [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, (float(low), float(high)))
