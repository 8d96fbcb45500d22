"""What the singular values of the same trials say: do they stay, what moves them, and does it go with the loss?"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from arms import Arm
from presets import BASE_RULE
from results import Row
from rules_study import RULES, steps_apart
from scipy import stats

from mupwd.diagnostics.powers import Exponent, PowerFit, fit_powers
from mupwd.plan.layers import starred
from mupwd.transfer.observations import Pair

_TOP = ("sigma_2", "sigma_3", "sigma_4")
_WINDOW = 2.0  # octaves
_FORGOTTEN = 1.5
"""Decay timescales after which a matrix counts as settled: what is left of its start is exp(-3) of sigma squared."""


@dataclass(frozen=True)
class Quantity:
    """One kind of layer at one width, seed by seed: geometric means over the layers."""

    width: int
    seed: int
    pair: Pair
    value: float


def kinds(rows: Sequence[Row], quantity: str) -> list[str]:
    """Returns the kinds of layers of which trials know a quantity, "layers/*/mlp/up/kernel".

    Args:
      rows: trials.
      quantity: "sigma_1" or "gain".
    """
    return sorted({kind for row in rows for kind, _ in _of(row, quantity)})


def values(rows: Iterable[Row], kind: str, quantity: str) -> list[Quantity]:
    """Returns a quantity of one kind of layer in every trial that is given.

    Args:
      rows: trials that ran to their end.
      kind: of layer.
      quantity: "sigma_1", "stable_rank", ..., or "gain".
    """
    found = []
    for row in rows:
        logs = [math.log(value) for name, value in _of(row, quantity) if name == kind and value > 0]
        if logs and math.isfinite(row.observation.loss):
            one = row.observation
            found.append(Quantity(one.width, one.seed, one.pair, math.exp(sum(logs) / len(logs))))
    return found


def _of(row: Row, quantity: str) -> Iterable[tuple[str, float]]:
    for name, value in row.late.items():
        kind, path = name.split("/", 1)
        if quantity == "gain":
            if kind == "gain":
                yield starred(path), value
        elif kind == "spectral" and path.endswith(f"/{quantity}"):
            path = path.removesuffix(f"/{quantity}")
            if path.startswith("layers/"):  # embeddings and readouts have no decay under these rules
                yield starred(path), value


def transferred_rows(rows: Iterable[Row], arm: Arm, base: int, decays: tuple[float, ...]) -> list[Row]:
    """Returns the trials of an arm's transferred pair, at all widths.

    Args:
      rows: of the horizon.
      arm: whose.
      base: width.
      decays: of the common grid, ascending.
    """
    found = []
    for row in rows:
        one = row.observation
        pair = arm.pair
        if arm.name in RULES:
            at = decays.index(pair[1]) + steps_apart(arm.name, one.width, base)
            mine = one.recipe == BASE_RULE and 0 <= at < len(decays) and one.pair == (pair[0], decays[at])
        elif one.width == base and arm.score is None:  # at the base all rules are one
            mine = one.recipe == BASE_RULE and one.pair == pair
        else:
            mine = one.recipe == arm.name and one.pair == pair
        if mine and not one.stopped:
            found.append(row)
    return found


def width_slopes(rows: Sequence[Row], quantity: str) -> dict[str, Exponent]:
    """Returns the power of the width that a quantity follows at a transferred pair, by kind of layer.

    Args:
      rows: what `transferred_rows` returns.
      quantity: "sigma_1" or "gain".
    """
    return {kind: _slope(values(rows, kind, quantity)) for kind in kinds(rows, quantity)}


def _slope(found: Sequence[Quantity]) -> Exponent:
    fit = fit_powers({"width": [one.width for one in found]}, [one.value for one in found])
    return fit.exponents["width"]


def power_law(rows: Iterable[Row], kind: str, tuned: Pair, base: int) -> PowerFit | None:
    """Fits `sigma_1 ∝ lr^a wd^b m^e` to the trials of the common grid that have forgotten their start.

    Args:
      rows: of the common grid.
      kind: of layer.
      tuned: the transferred pair; trials count up to two octaves from it, as in the fits of optima.
      base: width.

    Returns:
      The fit, in the matrices' own learning rate and coupled decay; None where too few trials lasted long enough.
    """
    settled = [
        row
        for row in rows
        if row.observation.recipe == BASE_RULE
        and all(abs(math.log2(a / b)) <= _WINDOW for a, b in zip(row.observation.pair, tuned, strict=True))
        and row.decay_elapsed * (row.observation.width / base) ** -0.5 >= _FORGOTTEN
    ]
    found = values(settled, kind, "sigma_1")
    ratios = [one.width / base for one in found]
    columns = {
        "lr": [one.pair[0] / m for one, m in zip(found, ratios, strict=True)],
        "wd": [one.pair[1] * math.sqrt(m) for one, m in zip(found, ratios, strict=True)],
        "m": ratios,
    }
    try:
        return fit_powers(columns, [one.value for one in found])
    except ValueError:
        return None


def matching_power(
    rows: Sequence[Row], kind: str, tuned: Pair, base: int
) -> tuple[Exponent | None, dict[int, float]]:
    """Returns which power of the width the decay must follow so that `sigma_1` stays what it is at the base.

    At every width, at the transferred learning rate, the decay at which `sigma_1` is the base's is read off the
    grid (linear between neighbours, in logarithms); its power of the width is fitted.

    Args:
      rows: of the common grid.
      kind: of layer.
      tuned: the transferred pair.
      base: width.

    Returns:
      The power and, by width, the matrices' own decay over the base's; None where the grid does not reach it.
    """
    by_width: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in values((row for row in rows if row.observation.recipe == BASE_RULE), kind, "sigma_1"):
        if one.pair[0] == tuned[0]:
            by_width[one.width][one.pair[1]].append(math.log2(one.value))
    wanted = float(np.mean(by_width[base][tuned[1]]))
    found: dict[int, float] = {}
    for width, curve in sorted(by_width.items()):
        decays = sorted(curve)
        sizes = [float(np.mean(curve[one])) for one in decays]
        at = _crossing(np.log2(decays), sizes, wanted)
        if width == base:
            at = math.log2(tuned[1])
        if at is None:
            return None, found
        found[width] = 2.0 ** (at - math.log2(tuned[1])) * math.sqrt(width / base)
    fit = fit_powers({"m": [width / base for width in found]}, list(found.values()))
    return fit.exponents["m"], found


def _crossing(x: np.ndarray, y: Sequence[float], wanted: float) -> float | None:
    """Where a curve takes a value, the first time; None where it does not."""
    for (left, low), (right, high) in itertools.pairwise(zip(x, y, strict=True)):
        if min(low, high) <= wanted <= max(low, high) and low != high:
            return float(left + (right - left) * (wanted - low) / (high - low))
    return None


def mismatch(rows: Sequence[Row], base: int) -> float:
    """Returns how far singular values move over all widths: octaves, root mean square over the kinds of layers.

    Args:
      rows: of a transferred pair.
      base: width.
    """
    target = max(row.observation.width for row in rows)
    moved = []
    for kind in kinds(rows, "sigma_1"):
        found = values(rows, kind, "sigma_1")
        ends = [
            np.mean([math.log2(one.value) for one in found if one.width == width]) for width in (base, target)
        ]
        moved.append(ends[1] - ends[0])
    return float(np.sqrt(np.mean(np.square(moved))))


def rank_correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Returns Spearman's rank correlation and its two-sided p-value.

    Args:
      x, y: of the arms, in the same order.
    """
    statistic, p_value = np.asarray(stats.spearmanr(x, y), dtype=float)
    return float(statistic), float(p_value)


def shape_distance(rows: Sequence[Row], kind: str) -> tuple[float, float]:
    """Returns how far normalised spectra lie apart between widths, and between the seeds of one width, in octaves.

    The largest of `|log2|` ratios of sigma_2 / sigma_1 to sigma_4 / sigma_1.

    Args:
      rows: of a transferred pair.
      kind: of layer.
    """
    first = {(one.width, one.seed): one.value for one in values(rows, kind, "sigma_1")}
    shapes: Mapping[tuple[int, int], np.ndarray] = {
        at: np.array([math.log2(_at(rows, kind, name)[at] / first[at]) for name in _TOP]) for at in first
    }
    widths = sorted({width for width, _ in shapes})
    means = {width: np.mean([s for (w, _), s in shapes.items() if w == width], axis=0) for width in widths}
    between = max(float(np.abs(means[a] - means[b]).max()) for a, b in itertools.combinations(widths, 2))
    within = max(float(np.abs(shape - means[width]).max()) for (width, _), shape in shapes.items())
    return between, within


def _at(rows: Sequence[Row], kind: str, name: str) -> dict[tuple[int, int], float]:
    return {(one.width, one.seed): one.value for one in values(rows, kind, name)}
