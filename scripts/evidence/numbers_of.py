"""Every number and table that docs/evidence.md shows, by the name that page.md calls it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from arms import OWN, Arm, Comparison, compare, preferred_power
from collapse import collapse_power
from presets import PRESETS
from results import Row
from spectra import (
    kinds,
    matching_power,
    mismatch,
    power_law,
    rank_correlation,
    transferred_rows,
    width_slopes,
)
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

from mupwd.transfer.observations import Estimate, best_pair, complete_pairs

_KEYS = {"p0": "p = 0", "p_half": OWN, "p1": "p = 1"}  # names that can stand in braces
_NOT_RUN = "*Not run to its end at this horizon; `python scripts/evidence/run.py` goes on with it.*"


def numbers(
    rows: Sequence[Row], about: Mapping[str, Any], measured: Mapping[str, Any] | None
) -> dict[str, str]:
    """Returns `{name: text}`.

    Args:
      rows: all trials.
      about: what they ran on.
      measured: what `mupwd check --fit` found; None where it did not run.
    """
    found = _setting(rows, about)
    for horizon, comparison in comparisons(rows, about).items():
        # The measurement is at equal tokens: every width runs the same number of decay timescales.
        mine = _horizon(comparison, measured if horizon == "fixed" else None)
        found |= {f"{horizon}_{name}": text for name, text in mine.items()}
    return found


def comparisons(rows: Sequence[Row], about: Mapping[str, Any]) -> dict[str, Comparison]:
    """Returns what the trials of each horizon say of the rules.

    Args:
      rows: all trials.
      about: what they ran on.
    """
    vocab_size = int(next(iter(about["sweeps"].values()))["run"]["corpus"]["vocab_size"])
    strong = PRESETS[about["preset"]].strong_decay
    return {
        horizon: compare(rows, horizon, strong, vocab_size)
        for horizon in dict.fromkeys(row.horizon for row in rows)
    }


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


def _horizon(found: Comparison, measured: Mapping[str, Any] | None) -> dict[str, str]:
    own, base, strong = found.own, found.base, found.strong
    lines = {
        rate: power
        for rate in sorted({row.observation.learning_rate for row in found.common})
        if (power := collapse_power(found.common, rate, base)) is not None
    }
    collapsed = [one.value for one in lines.values()]
    layers = kinds(found.common, "sigma_1")
    powers = {kind: matching_power(found.common, kind, strong[OWN].pair, base)[0] for kind in layers}
    matched = [one.value for one in powers.values() if one is not None]
    laws = {kind: power_law(found.common, kind, strong[OWN].pair, base) for kind in layers}
    transferred = {
        name: transferred_rows(found.rows, arm, base, found.decays)
        for name, arm in (strong | found.controls).items()
    }
    moves = _moves(transferred, strong | found.controls, base)
    rules_only = {name: one for name, one in moves.items() if name in strong}
    fitted = [some for name, some in transferred.items() if name.startswith("fitted({")]
    flat = [slope.value for some in fitted for slope in width_slopes(some, "sigma_1").values()]
    fits = [one["decay"]["value"] for one in (measured or {}).get("modules", []) if one["decay"]]
    widths = sorted(own.transferred)
    widest = widths[-1] / base
    steps = {row.observation.width: row.steps for row in found.common}
    return {
        "transfer": transfer_table(found.arms),
        "controls": transfer_table({OWN: own} | found.controls) if found.controls else _NOT_RUN,
        "regrets": regret_table(found.arms | found.controls),
        "laws": law_table(found.arms | found.controls),
        "strong": strong_table(strong),
        "collapse": collapse_table(lines),
        "slopes": slope_table(transferred, base),
        "exponents": exponent_table(measured, powers, laws),
        "shapes": shape_table(transferred[OWN]),
        "elapsed": elapsed_table(found.common, own, base),
        "elapsed_strong": elapsed_table(found.common, strong[OWN], base),
        "correlation_regret": _correlation(moves, 1),
        "correlation_change": _correlation(moves, 2),
        "correlation_change_rules": _correlation(rules_only, 2),
        "fitted_slope_low": f"{min(flat):+.2f}" if flat else "–",
        "fitted_slope_high": f"{max(flat):+.2f}" if flat else "–",
        "collapse_tuned": estimate(lines[own.pair[0]], 2),
        "collapse_low": f"{min(collapsed):.2f}",
        "collapse_high": f"{max(collapsed):.2f}",
        "fit_low": f"{min(fits):.2f}" if fits else "–",
        "fit_high": f"{max(fits):.2f}" if fits else "–",
        "widest": f"{widest:g}",
        "more_low": f"{widest ** (min(collapsed) - 0.5):.1f}",
        "more_high": f"{widest ** (max(matched) - 0.5):.1f}" if matched else "–",
        "preferred": estimate(preferred_power(own), 2),
        "matching_low": f"{min(matched):.2f}" if matched else "–",
        "matching_high": f"{max(matched):.2f}" if matched else "–",
        "lr": f"2^{math.log2(own.pair[0]):g}",
        "wd": f"2^{math.log2(own.pair[1]):g}",
        "widths": " / ".join(map(str, widths)),
        "steps": " / ".join(f"{steps[width]:,}" for width in widths),
        # lr of a matrix is 1/m, so that lr · wd · steps stays if wd ∝ m / steps.
        "timescale_power": f"{1 - math.log(steps[widths[-1]] / steps[base]) / math.log(widest):+.2f}",
        **{
            f"regret_{key}": estimate(found.arms[name].regrets.get(widths[-1])) for key, name in _KEYS.items()
        },
        **{
            f"{what}_{name}": text
            for name, arm in (found.controls | {"own": own}).items()
            for what, text in (
                ("regret", estimate(arm.regrets.get(widths[-1]))),
                ("best", f"{_best_loss(arm):.3f}"),
                ("rate_drift", estimate(_rate_drift(arm), 2)),
            )
        },
        **{f"strong_{key}": estimate(strong[name].regrets.get(widths[-1])) for key, name in _KEYS.items()},
    }


def _best_loss(arm: Arm) -> float:
    """Mean loss of the best pair at the target, of those that ran with all seeds."""
    table = arm.tables[arm.target]
    complete = {pair: table[pair] for pair in complete_pairs(table)}
    return float(np.mean(list(complete[best_pair(complete)].values())))


def _rate_drift(arm: Arm) -> Estimate | None:
    """Octaves by which the best learning rate moves when the width doubles."""
    drift = arm.score.learning_rate_drift if arm.score else None
    return None if drift is None else Estimate(drift.slope, drift.interval)


def _moves(
    transferred: Mapping[str, Sequence[Row]], arms: Mapping[str, Arm], base: int
) -> dict[str, tuple[float, float, float]]:
    """By arm: octaves that singular values move, regret at the target, and how far that is from the base's."""
    moves = {}
    for name, some in transferred.items():
        arm = arms[name]
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
