"""Every number and table that docs/evidence.md shows, by the name that page.md calls it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from arms import OWN, Arm, arms, common_decays, preferred_power, strong_arms
from collapse import collapse_power
from presets import BASE_RULE, CONTROLS, PRESETS
from results import Row
from spectra import kinds, matching_power, mismatch, rank_correlation, transferred_rows, width_slopes
from tables import (
    collapse_table,
    elapsed_table,
    estimate,
    exponent_table,
    law_table,
    regret_table,
    shape_table,
    slope_table,
    strong_table,
    transfer_table,
)

_NOT_RUN = "*Not complete yet: `python scripts/evidence/run.py --only fixed` goes on with it.*"


def numbers(
    rows: Sequence[Row], about: Mapping[str, Any], measured: Mapping[str, Any] | None
) -> dict[str, str]:
    """Returns `{name: text}`.

    Args:
      rows: all trials.
      about: what they ran on.
      measured: what `mupwd check --fit` found; None where it did not run.
    """
    found, vocabulary = _setting(rows, about), vocab_size(about)
    strong_decay = PRESETS[about["preset"]].strong_decay
    for horizon in dict.fromkeys(row.horizon for row in rows):
        found |= {
            f"{horizon}_{name}": text
            for name, text in _horizon(rows, horizon, vocabulary, strong_decay, measured).items()
        }
    return found


def vocab_size(about: Mapping[str, Any]) -> int:
    """Returns the number of tokens that the text has."""
    return int(next(iter(about["sweeps"].values()))["run"]["corpus"]["vocab_size"])


def _setting(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, str]:
    manifest = next(iter(about["sweeps"].values()))
    environment, run = manifest["environment"], manifest["run"]
    given = run["hyperparameters"]
    revisions = dict.fromkeys(name[:12] for one in about["sweeps"].values() for name in one["revisions"])
    return {
        "trials": f"{len(rows):,}",
        "hours": f"{sum(row.seconds for row in rows) / 3600:.1f}",
        "corpus": str(run["corpus"]["source"]),
        "corpus_sha256": str(run["corpus"]["sha256"])[:12],
        "python": str(environment["python"]),
        "versions": ", ".join(f"{name} {version}" for name, version in environment["versions"].items()),
        "revisions": ", ".join(f"`{one}`" for one in revisions),
        "batch_tokens": str(given["batch_size"] * given["sequence_length"]),
        "seeds": str(len({row.observation.seed for row in rows})),
    }


def _horizon(
    rows: Sequence[Row],
    horizon: str,
    vocabulary: int,
    strong_decay: float,
    measured: Mapping[str, Any] | None,
) -> dict[str, str]:
    mine = [row for row in rows if row.horizon == horizon]
    decays = common_decays(rows, horizon)
    common = [
        row
        for row in mine
        if row.sweep == "rules"
        and (row.observation.recipe != BASE_RULE or row.observation.weight_decay in decays)
    ]
    found, strong = arms(rows, horizon, vocabulary), strong_arms(rows, horizon, strong_decay, vocabulary)
    own = found[OWN]
    base = min(own.transferred)
    preferred = preferred_power(own)
    powers = [matching_power(common, kind, strong[OWN].pair, base)[0] for kind in kinds(common, "sigma_1")]
    lines = {
        rate: collapse_power(common, rate, base)
        for rate in sorted({row.observation.learning_rate for row in common})
    }
    fits = [one["decay"]["value"] for one in (measured or {}).get("modules", []) if one["decay"]]
    collapsed = [one.value for one in lines.values() if one is not None]
    matched = [one.value for one in powers if one is not None]
    controls = {name: found.pop(name) for name in CONTROLS if name in found}
    moves = _moves(mine, strong | controls, base, decays)
    fitted = [
        transferred_rows(mine, arm, base, decays)
        for name, arm in strong.items()
        if name.startswith("fitted({")
    ]
    flat = [slope.value for some in fitted for slope in width_slopes(some, "sigma_1").values()]
    widest = max(own.transferred) / base
    steps = {row.observation.width: row.steps for row in common}
    return {
        "transfer": transfer_table(found),
        "controls": transfer_table({OWN: own} | controls) if controls else _NOT_RUN,
        "regrets": regret_table(found),
        "laws": law_table(found),
        "strong": strong_table(strong),
        "collapse": collapse_table(common, base),
        "slopes": slope_table(mine, strong, base, decays),
        "exponents": exponent_table(measured if horizon == "fixed" else None, common, strong[OWN], base),
        "shapes": shape_table(common, strong[OWN], base, decays),
        "elapsed": elapsed_table(common, own, base),
        "elapsed_strong": elapsed_table(common, strong[OWN], base),
        "correlation_regret": _correlation(moves, 1),
        "correlation_change": _correlation(moves, 2),
        "fitted_slope_low": f"{min(flat):+.2f}" if flat else "–",
        "fitted_slope_high": f"{max(flat):+.2f}" if flat else "–",
        "collapse_tuned": estimate(lines[own.pair[0]], 2),
        "collapse_low": f"{min(collapsed):.2f}",
        "collapse_high": f"{max(collapsed):.2f}",
        "fit_low": f"{min(fits):.2f}" if fits else "–",
        "fit_high": f"{max(fits):.2f}" if fits else "–",
        "widest": f"{widest:g}",
        "more_low": f"{widest ** (min(collapsed) - 0.5):.1f}",
        "more_high": f"{widest ** (max(matched) - 0.5):.1f}",
        "preferred": estimate(preferred, 2),
        "matching_low": f"{min(matched):.2f}" if matched else "–",
        "matching_high": f"{max(matched):.2f}" if matched else "–",
        "matching_mean": f"{np.mean(matched):.2f}" if matched else "–",
        "lr": f"2^{math.log2(own.pair[0]):g}",
        "wd": f"2^{math.log2(own.pair[1]):g}",
        "steps": " / ".join(f"{steps[width]:,}" for width in sorted(steps)),
        "widths": " / ".join(str(width) for width in sorted(steps)),
        **{
            f"regret_{key}": estimate(found[name].regrets.get(found[name].target))
            for key, name in _keys(found).items()
        },
        **{
            f"strong_{key}": estimate(strong[name].regrets.get(max(steps)))
            for key, name in _keys(strong).items()
        },
    }


def _keys(found: Mapping[str, Arm]) -> dict[str, str]:
    """Names that can stand in braces."""
    keys = {"p0": "p = 0", "p_half": "p = 1/2", "p1": "p = 1", "planted": "fitted(0.25)"}
    keys |= {name: name for name in CONTROLS}
    keys["fitted"] = next((name for name in found if name.startswith("fitted({")), "")
    return {key: name for key, name in keys.items() if name in found}


def _moves(
    rows: Sequence[Row], found: Mapping[str, Arm], base: int, decays: tuple[float, ...]
) -> dict[str, tuple[float, float, float]]:
    """By arm: octaves that singular values move, regret at the target, and how far that is from the base's."""
    moves = {}
    for name, arm in found.items():
        some = transferred_rows(rows, arm, base, decays)
        ends = [arm.regrets.get(width) for width in (base, arm.target)]
        if None not in ends and {base, arm.target} <= {row.observation.width for row in some}:
            narrow, wide = (one.value for one in ends if one is not None)
            moves[name] = (mismatch(some, base), wide, abs(wide - narrow))
    return moves


def _correlation(moves: Mapping[str, tuple[float, float, float]], column: int) -> str:
    """Rank correlation over the arms of how far singular values move with another column."""
    if len(moves) < 4:
        return f"not computed, as there are {len(moves)} arms"
    statistic, p_value = rank_correlation(
        [one[0] for one in moves.values()], [one[column] for one in moves.values()]
    )
    return f"{statistic:+.2f} (p = {p_value:.2f}, {len(moves)} arms)"
