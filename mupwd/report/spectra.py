"""The panels of singular values and of the geometry of updates: series, shapes at a step, and how sure they are."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mupwd.diagnostics.matrices import layout_of
from mupwd.plan.layers import starred
from mupwd.report.downsample import downsample
from mupwd.report.logs import geometric_mean
from mupwd.report.pack import EXACT, FINE, ROUGH, Packer
from mupwd.report.runs import Run

_NAME = re.compile(r"(spectral|update)/(.+)/([^/]+)", re.DOTALL)
_SIGMA = re.compile(r"sigma_(\d+)")
_COPY = re.compile(r"(.*)\[[\d,]+\]", re.DOTALL)
_GEOMETRY = ("weight_rms", "update_rms", "effective_learning_rate", "angle", "decay_timescale")
_MOST, _LEAST = 1500, 40  # points of a series
_ALL = 400_000  # of all series together, as long as each keeps the least
_SHAPES = 24  # steps at which spectra are drawn
_VISIBLE = 2e-3  # a relative error below it is narrower than the line

Series = tuple[np.ndarray, np.ndarray]


def panels(runs: Sequence[Run], drawn: Sequence[bool], packer: Packer) -> dict[str, Any]:
    """Returns the layers, their series, shapes of spectra and the health of the estimates.

    Args:
      runs: all of the page; it knows them by their places.
      drawn: whether the series of each are wanted; the health of its estimates is anyway.
      packer: takes the numbers.
    """
    found: dict[str, dict[str, list[tuple[int, Series]]]] = defaultdict(lambda: defaultdict(list))
    kinds: dict[str, dict[str, set[str]]] = {"matrix": defaultdict(set), "gain": defaultdict(set)}
    factors: dict[int, dict[str, float]] = defaultdict(dict)
    shapes: dict[str, list[Any]] = defaultdict(list)
    health = []
    for number, run in enumerate(runs):
        layers = _by_layer(run)
        if not layers:
            continue
        health.append({"run": number, **_health(layers)})
        if not drawn[number]:
            continue
        for (what, layer), quantities in layers.items():
            quantities |= _derived(run, layer, quantities)
            kinds[what][kind_of(layer)].add(layer)
            for quantity, series in _drawn(quantities):
                found[layer][quantity].append((number, series))
            if factor := _factor(quantities):
                factors[number][layer] = factor
            if shape := _shape(run, layer, quantities, packer):
                shapes[layer].append([number, *shape])
        for what in kinds:
            _add_kinds(number, {one: q for (w, one), q in layers.items() if w == what}, found, factors)
    count = sum(len(some) for quantities in found.values() for some in quantities.values())
    limit = max(_LEAST, min(_MOST, _ALL // max(count, 1)))
    traces = {
        layer: {
            quantity: [[number, *_packed(series, packer, limit, ROUGH)] for number, series in some]
            for quantity, some in quantities.items()
        }
        for layer, quantities in found.items()
    }
    return {
        "layers": [*_layers(kinds["matrix"], "matrix"), *_layers(kinds["gain"], "gain")],
        "traces": traces,
        "factors": {str(number): some for number, some in factors.items()},
        "shapes": dict(shapes),
        "health": health,
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
    limit = max(_LEAST, min(_MOST, _ALL // max(len(some), 1)))
    return [[number, name, *_packed(series, packer, limit, FINE)] for number, name, series in some]


def kind_of(layer: str) -> str:
    """Returns the name that layers of one kind share.

    Example:
      >>> kind_of("layers/3/mlp/up/kernel"), kind_of("layers/mlp/up[3]")
      ('layers/*/mlp/up/kernel', 'layers/mlp/up[*]')
    """
    copy = _COPY.fullmatch(layer)
    return starred(copy[1]) + "[*]" if copy else starred(layer)


def _by_layer(run: Run) -> dict[tuple[str, str], dict[str, Series]]:
    """`{("matrix" or "gain", layer): {quantity: series}}`."""
    found: dict[tuple[str, str], dict[str, Series]] = defaultdict(dict)
    for name, series in run.log.series.items():
        if name.startswith("gain/"):
            found["gain", name[len("gain/") :]]["gain"] = series
        elif match := _NAME.fullmatch(name):
            prefix = "update_" if match[1] == "update" and match[3] not in _GEOMETRY else ""
            found["matrix", match[2]][prefix + match[3]] = series
    return dict(found)


def _drawn(quantities: dict[str, Series]) -> Iterator[tuple[str, Series]]:
    """The quantities that are drawn against step."""
    for name in ("sigma_1", "gain", "stable_rank", *_GEOMETRY):
        if name in quantities:
            yield name, quantities[name]
    error = quantities.get("err_1")
    if (
        error is not None
        and np.nanmax(np.where(np.isfinite(error[1]), error[1], 0.0), initial=0.0) > _VISIBLE
    ):
        yield "err_1", error


def _derived(run: Run, layer: str, quantities: dict[str, Series]) -> dict[str, Series]:
    """The geometry that follows from the Frobenius norm, the plan and the schedule, where the log lacks it."""
    found: dict[str, Series] = {}
    size, fro, rate = _size(run, layer), quantities.get("fro"), run.log.series.get("train/learning_rate")
    if fro is None or size is None or run.plan is None:
        return found
    if "weight_rms" not in quantities:
        found["weight_rms"] = (fro[0], fro[1] / math.sqrt(size[0] * size[1]))
    weights, update = quantities.get("weight_rms", found.get("weight_rms")), quantities.get("update_rms")
    if (
        "effective_learning_rate" not in quantities
        and weights
        and update
        and len(weights[0]) == len(update[0])
    ):
        with np.errstate(divide="ignore", invalid="ignore"):
            found["effective_learning_rate"] = (update[0], update[1] / weights[1])
    # An independent decay does not follow the schedule's learning rate.
    coupled = run.hyperparameters.get("decay", "coupled") == "coupled"
    if "decay_timescale" not in quantities and rate is not None and coupled:
        own = run.plan[_path_of(layer)]
        per_step = rate[1] * own.lr * run.weight_decay * own.wd
        shown = per_step > 0
        if shown.any():
            found["decay_timescale"] = (rate[0][shown], 1 / per_step[shown])
    return found


def _add_kinds(
    number: int,
    layers: dict[str, dict[str, Series]],
    found: dict[str, dict[str, list[tuple[int, Series]]]],
    factors: dict[int, dict[str, float]],
) -> None:
    """Adds the geometric means over the layers of each kind that has several."""
    members: dict[str, list[str]] = defaultdict(list)
    for layer in layers:
        members[kind_of(layer)].append(layer)
    for kind, some in members.items():
        if kind in layers:
            continue
        for quantity in ("sigma_1", "gain", "stable_rank", *_GEOMETRY):
            series = [layers[one][quantity] for one in some if quantity in layers[one]]
            mean = geometric_mean(series) if len(series) == len(some) else None
            if mean is not None:
                found[kind][quantity].append((number, mean))
        known = [factors[number][one] for one in some if one in factors[number]]
        if known and len(known) == len(some):
            factors[number][kind] = math.exp(sum(map(math.log, known)) / len(known))


def _layers(kinds: dict[str, set[str]], what: str) -> list[dict[str, Any]]:
    found = []
    for kind, members in kinds.items():
        # A kind of one is that layer, under its own name.
        some = [] if members == {kind} else sorted(members, key=_natural)
        found.append({"name": kind, "what": what, "members": some})
    return sorted(found, key=lambda one: (not one["members"], one["name"]))


def _natural(name: str) -> list[Any]:
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", name)]


def _factor(quantities: dict[str, Series]) -> float | None:
    """`sqrt(fan_in / fan_out)`, as the log has it."""
    sigma, rms = quantities.get("sigma_1"), quantities.get("rms_operator_norm")
    if sigma is None or rms is None or len(sigma[1]) != len(rms[1]):
        return None
    good = np.isfinite(sigma[1]) & np.isfinite(rms[1]) & (sigma[1] > 0) & (rms[1] > 0)
    return float(f"{np.median(rms[1][good] / sigma[1][good]):.6g}") if good.any() else None


def _shape(run: Run, layer: str, quantities: dict[str, Series], packer: Packer) -> list[Any] | None:
    """`[steps, sigma_1 … sigma_k one after the other, edges or None]` at a few steps."""
    numbers = sorted(int(match[1]) for name in quantities if (match := _SIGMA.fullmatch(name)))
    steps = quantities["sigma_1"][0] if 1 in numbers else np.zeros(0)
    numbers = [one for one in numbers if len(quantities[f"sigma_{one}"][0]) == len(steps)]
    if len(numbers) < 2 or not len(steps):
        return None
    at = np.unique(np.linspace(0, len(steps) - 1, min(_SHAPES, len(steps))).round().astype(int))
    values = np.stack([quantities[f"sigma_{one}"][1][at] for one in numbers], axis=1)
    edges = None
    fro = quantities.get("fro")
    size = _size(run, layer)
    if fro is not None and size is not None and len(fro[0]) == len(steps):
        rows, columns = size
        # Of a matrix with independent entries of the same size.
        edges = packer.add(fro[1][at] * (rows**-0.5 + columns**-0.5))
    return [packer.add(steps[at], EXACT), packer.add(values.reshape(-1)), len(numbers), edges]


def _size(run: Run, layer: str) -> tuple[int, int] | None:
    path = _path_of(layer)
    if run.plan is None or path not in run.plan:
        return None
    layout = layout_of(run.plan[path])
    return None if layout is None else (layout.size(layout.fan_in), layout.size(layout.fan_out))


def _path_of(layer: str) -> str:
    """The parameter that a layer is, or is a copy in."""
    copy = _COPY.fullmatch(layer)
    return copy[1] if copy else layer


def _health(layers: dict[tuple[str, str], dict[str, Series]]) -> dict[str, Any]:
    """How the estimates of a run's singular values went."""

    def every(quantity: str) -> np.ndarray:
        some = [one[quantity][1] for one in layers.values() if quantity in one]
        return np.concatenate([*some, np.zeros(0)])

    passes, converged, error = every("passes"), every("converged"), every("err_1")
    error = error[np.isfinite(error)]
    audits = [one["disagreements"][1][-1] for one in layers.values() if "disagreements" in one]
    worst = max(
        (
            (float((one["converged"][1] < 1).mean()), layer)
            for (_, layer), one in layers.items()
            if "converged" in one
        ),
        default=(0.0, ""),
    )
    return {
        "matrices": sum(what == "matrix" for what, _ in layers),
        "observations": len(converged) or len(every("sigma_1")),
        "passes": _rounded(passes.mean()) if len(passes) else None,
        "most": _rounded(passes.max()) if len(passes) else None,
        "unconverged": int((converged < 1).sum()) if len(converged) else None,
        "worst": worst[1] if worst[0] > 0 else "",
        "error": _rounded(error.max()) if len(error) else None,
        "audits": int(np.nansum(audits)) if audits else None,
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _packed(series: Series, packer: Packer, limit: int, bits: int) -> list[Any]:
    steps, values = downsample(*series, limit)
    return [packer.add(steps, EXACT), packer.add(values, bits)]
