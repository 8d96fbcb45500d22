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
from spectra import kinds, matching_power, mismatch, rank_correlation, transferred_rows
from tables import (
    collapse_table,
    elapsed_table,
    estimate,
    exponent_table,
    law_table,
    name_of,
    regret_table,
    shape_table,
    slope_table,
    strong_table,
    transfer_table,
)


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
    revisions = sorted({str(one["environment"]["git_revision"])[:12] for one in about["sweeps"].values()})
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
    collapsed = [one.value for one in lines.values() if one is not None]
    matched = [one.value for one in powers if one is not None]
    steps = {row.observation.width: row.steps for row in common}
    return {
        "transfer": transfer_table(found),
        "regrets": regret_table(found),
        "laws": law_table(found),
        "strong": strong_table(strong),
        "collapse": collapse_table(common, base),
        "slopes": slope_table(mine, strong, base, decays),
        "exponents": exponent_table(measured if horizon == "fixed" else None, common, strong[OWN], base),
        "shapes": shape_table(common, strong[OWN], base, decays),
        "elapsed": elapsed_table(common, own, base),
        "elapsed_strong": elapsed_table(common, strong[OWN], base),
        "correlation": _correlation(
            mine, strong | {n: found[n] for n in CONTROLS if n in found}, base, decays
        ),
        "collapse_tuned": estimate(lines[own.pair[0]], 2),
        "collapse_low": f"{min(collapsed):.2f}",
        "collapse_high": f"{max(collapsed):.2f}",
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


def _correlation(rows: Sequence[Row], found: Mapping[str, Arm], base: int, decays: tuple[float, ...]) -> str:
    """Over the arms: how far singular values move against what is lost at the target."""
    pairs = {}
    for name, arm in found.items():
        some = transferred_rows(rows, arm, base, decays)
        regret = arm.regrets.get(arm.target)
        if regret is not None and {base, arm.target} <= {row.observation.width for row in some}:
            pairs[name] = (mismatch(some, base), regret.value)
    if len(pairs) < 4:
        return f"not computed: {len(pairs)} arms"
    statistic, p_value = rank_correlation(*zip(*pairs.values(), strict=True))
    listed = ", ".join(
        f"{name_of(name)} {moved:.2f}" for name, (moved, _) in sorted(pairs.items(), key=lambda i: i[1])
    )
    return f"{statistic:+.2f} (p = {p_value:.2f}, {len(pairs)} arms; octaves that σ_top moves: {listed})"
