"""The panels of singular values and of the geometry of updates: series against step, and what theory promises."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mupwd.report.downsample import downsample
from mupwd.report.health import health
from mupwd.report.layers import GEOMETRY, Series, by_layer, kind_of, natural, path_of, size_of
from mupwd.report.logs import geometric_mean
from mupwd.report.pack import EXACT, FINE, ROUGH, Packer
from mupwd.report.runs import Run
from mupwd.report.shapes import Shape, packed_shapes, shape_of

_MOST, _LEAST = 1500, 40  # points of a series
_ALL = 250_000  # of all series together, as long as each keeps the least
_CEILING = 2_000_000  # of all series together: beyond it each keeps fewer still
_VISIBLE = 2e-3  # a relative error below it is narrower than the line

Found = dict[str, dict[str, list[tuple[int, Series]]]]
"""`{layer: {quantity: [(run, series), …]}}`."""


def panels(
    runs: Sequence[Run], labels: Sequence[str], drawn: Sequence[bool], packer: Packer
) -> dict[str, Any]:
    """Returns the layers, their series, shapes of spectra and the health of the estimates.

    Args:
      runs: all of the page; it knows them by their places.
      labels: of each run's recipe.
      drawn: whether the series of each are wanted; the health of its estimates is anyway.
      packer: takes the numbers.
    """
    found: Found = defaultdict(lambda: defaultdict(list))
    kinds: dict[str, dict[str, set[str]]] = {"matrix": defaultdict(set), "gain": defaultdict(set)}
    factors: dict[int, dict[str, float]] = defaultdict(dict)
    shapes: dict[str, list[Shape]] = defaultdict(list)
    estimates = []
    for number, run in enumerate(runs):
        layers = by_layer(run)
        if not layers:
            continue
        estimates.append({"run": number, **health(layers)})
        if not drawn[number]:
            continue
        for (what, layer), quantities in layers.items():
            quantities |= _derived(run, layer, quantities)
            kinds[what][kind_of(layer)].add(layer)
            for quantity, series in _drawn(quantities):
                found[layer][quantity].append((number, series))
            if factor := _factor(quantities):
                factors[number][layer] = factor
            if shape := shape_of(number, quantities, size_of(run, layer)):
                shapes[layer].append(shape)
        for what in kinds:
            _add_kinds(number, {one: q for (w, one), q in layers.items() if w == what}, found, factors)
    promised = _theory(found, runs, labels, factors)
    limit = _limit(sum(len(some) for quantities in found.values() for some in quantities.values()))
    return {
        "layers": [*_layers(kinds["matrix"], "matrix"), *_layers(kinds["gain"], "gain")],
        "traces": {layer: _traces(quantities, packer, limit) for layer, quantities in found.items()},
        "theory": {
            layer: [[*key, *_packed(_thinned(series, limit), packer)] for key, series in some.items()]
            for layer, some in promised.items()
        },
        "factors": {str(number): some for number, some in factors.items()},
        "shapes": packed_shapes(shapes, packer),
        "health": estimates,
        "limit": limit,
    }


def losses(runs: Iterable[tuple[int, Run]], packer: Packer) -> list[list[Any]]:
    """Returns the losses of runs against step: `[run, name, steps, values]`.

    Args:
      runs: with the numbers that the page knows them by.
      packer: takes the numbers.
    """
    some = [
        (number, name, run.log.series[name])
        for number, run in runs
        for name in ("train/loss", "eval/loss")
        if name in run.log.series
    ]
    limit = _limit(len(some))
    return [[number, name, *_packed(_thinned(series, limit), packer, FINE)] for number, name, series in some]


def _limit(count: int) -> int:
    """Points of each of so many series."""
    least = min(_LEAST, _CEILING // max(count, 1))
    return max(4, least, min(_MOST, _ALL // max(count, 1)))


def _traces(
    quantities: Mapping[str, Sequence[tuple[int, Series]]], packer: Packer, limit: int
) -> dict[str, list[list[Any]]]:
    """`{quantity: [[run, steps, values], …]}`; every point of a singular value that is drawn has its error."""
    thinned = {
        quantity: {number: _thinned(series, limit) for number, series in some}
        for quantity, some in quantities.items()
        if quantity != "err_1"
    }
    errors = dict(quantities.get("err_1", ()))
    sigmas = thinned.get("sigma_1", {})
    if shown := {
        number: (sigmas[number][0], _at(sigmas[number][0], series))
        for number, series in errors.items()
        if number in sigmas
    }:
        thinned["err_1"] = shown
    return {
        quantity: [[number, *_packed(series, packer)] for number, series in some.items()]
        for quantity, some in thinned.items()
    }


def _at(steps: np.ndarray, series: Series) -> np.ndarray:
    """The values at some steps; NaN where there are none."""
    at = np.minimum(np.searchsorted(series[0], steps), len(series[0]) - 1)
    return np.where(series[0][at] == steps, series[1][at], np.nan)


def _theory(
    found: Found, runs: Sequence[Run], labels: Sequence[str], factors: Mapping[int, Mapping[str, float]]
) -> dict[str, dict[tuple[str, str, int], Series]]:
    """`{layer: {(recipe, pair, a run of the narrowest width): series}}`: what the narrowest width promises for all.

    The geometric mean over its seeds, where there is another width to compare with it. A matrix's needs its factor.
    """
    promised: dict[str, dict[tuple[str, str, int], Series]] = {}
    for layer, quantities in found.items():
        for quantity in ("sigma_1", "gain"):
            alike: dict[tuple[str, str], list[tuple[int, Series]]] = defaultdict(list)
            for number, series in quantities.get(quantity, ()):
                if runs[number].width and (quantity == "gain" or layer in factors.get(number, {})):
                    alike[labels[number], runs[number].pair].append((number, series))
            for key, some in alike.items():
                narrowest = min(runs[number].width for number, _ in some)
                seeds = {number: series for number, series in some if runs[number].width == narrowest}
                mean = geometric_mean(seeds.values()) if len(seeds) < len(some) else None
                if mean is not None:
                    promised.setdefault(layer, {})[*key, next(iter(seeds))] = mean
    return promised


def _drawn(quantities: Mapping[str, Series]) -> Iterator[tuple[str, Series]]:
    """The quantities that are drawn against step."""
    for name in ("sigma_1", "gain", "stable_rank", *GEOMETRY):
        if name in quantities:
            yield name, quantities[name]
    error = quantities.get("err_1")
    if (
        error is not None
        and np.nanmax(np.where(np.isfinite(error[1]), error[1], 0.0), initial=0.0) > _VISIBLE
    ):
        yield "err_1", error


def _derived(run: Run, layer: str, quantities: Mapping[str, Series]) -> dict[str, Series]:
    """The geometry that follows from the Frobenius norm, the plan and the schedule, where the log lacks it."""
    found: dict[str, Series] = {}
    size, fro, rate = size_of(run, layer), quantities.get("fro"), run.log.series.get("train/learning_rate")
    if fro is None or size is None or run.plan is None:
        return found
    if "weight_rms" not in quantities:
        found["weight_rms"] = (fro[0], fro[1] / math.sqrt(size[0] * size[1]))
    weights, update = quantities.get("weight_rms", found.get("weight_rms")), quantities.get("update_rms")
    if (
        "effective_learning_rate" not in quantities
        and weights
        and update
        and np.array_equal(weights[0], update[0])
    ):
        with np.errstate(divide="ignore", invalid="ignore"):
            found["effective_learning_rate"] = (update[0], update[1] / weights[1])
    # An independent decay does not follow the schedule's learning rate.
    coupled = run.hyperparameters.get("decay", "coupled") == "coupled"
    if "decay_timescale" not in quantities and rate is not None and coupled:
        own = run.plan[path_of(layer)]
        per_step = rate[1] * own.lr * run.weight_decay * own.wd
        shown = per_step > 0
        if shown.any():
            found["decay_timescale"] = (rate[0][shown], 1 / per_step[shown])
    return found


def _add_kinds(
    number: int,
    layers: Mapping[str, Mapping[str, Series]],
    found: Found,
    factors: dict[int, dict[str, float]],
) -> None:
    """Adds the geometric means over the layers of each kind that has several."""
    members: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        members[kind_of(layer)].append(layer)
    for kind, some in members.items():
        if kind in layers:
            continue
        for quantity in ("sigma_1", "gain", "stable_rank", *GEOMETRY):
            series = [layers[one][quantity] for one in some if quantity in layers[one]]
            mean = geometric_mean(series) if len(series) == len(some) else None
            if mean is not None:
                found[kind][quantity].append((number, mean))
        known = [factors[number][one] for one in some if one in factors[number]]
        if known and len(known) == len(some):
            factors[number][kind] = math.exp(sum(map(math.log, known)) / len(known))


def _layers(kinds: Mapping[str, set[str]], what: str) -> list[dict[str, Any]]:
    found = []
    for kind, members in kinds.items():
        # A kind of one is that layer, under its own name.
        some = [] if members == {kind} else sorted(members, key=natural)
        found.append({"name": kind, "what": what, "members": some})
    return sorted(found, key=lambda one: (not one["members"], one["name"]))


def _factor(quantities: Mapping[str, Series]) -> float | None:
    """`sqrt(fan_in / fan_out)`, as the log has it."""
    sigma, rms = quantities.get("sigma_1"), quantities.get("rms_operator_norm")
    if sigma is None or rms is None or not np.array_equal(sigma[0], rms[0]):
        return None
    good = np.isfinite(sigma[1]) & np.isfinite(rms[1]) & (sigma[1] > 0) & (rms[1] > 0)
    return float(f"{np.median(rms[1][good] / sigma[1][good]):.6g}") if good.any() else None


def _thinned(series: Series, limit: int) -> Series:
    """A series of about `limit` points, or whole: thinned ones need steps of their own, which cost as much."""
    return series if len(series[0]) <= 2 * limit else downsample(*series, limit)


def _packed(series: Series, packer: Packer, bits: int = ROUGH) -> list[Any]:
    return [packer.add(series[0], EXACT), packer.add(series[1], bits)]
