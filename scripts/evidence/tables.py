"""The tables of docs/evidence.md, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from arms import OWN, Arm
from presets import BASE_RULE
from results import Row
from rules_study import RULES
from spectra import kinds, mismatch, shape_distance, width_slopes

from mupwd.diagnostics.powers import Exponent, PowerFit
from mupwd.transfer.drift import Drift
from mupwd.transfer.observations import Estimate

NAMES = {
    "sp_embedding": "sp, muP's embedding rate",
    "fitted(0.25)": "p = -1/2 (planted mistake)",
}


def name_of(arm: str) -> str:
    """Returns what the page calls an arm."""
    return NAMES.get(arm, "fitted, a power per kind of layer" if arm.startswith("fitted({") else arm)


def transfer_table(arms: Mapping[str, Arm]) -> str:
    """Returns drift, regret and loss of every arm."""
    target = max(arm.target for arm in arms.values())
    rows = [
        [
            name_of(arm.name),
            f"2^{math.log2(arm.pair[0]):g}, 2^{math.log2(arm.pair[1]):g}",
            drift_words(arm.score and arm.score.learning_rate_drift),
            _decay_words(arms, arm),
            estimate(arm.regrets.get(target)),
            f"{arm.loss:.3f}",
        ]
        for arm in arms.values()
    ]
    head = [
        "rule",
        "tuned at the base: lr, wd",
        "best lr, octaves per doubling",
        "best wd, octaves per doubling",
        f"regret at {target}",
        f"loss at {target}",
    ]
    return table(head, rows)


def strong_table(arms: Mapping[str, Arm]) -> str:
    """Returns loss and regret of the rules with a strong decay, at every width."""
    widths = sorted({width for arm in arms.values() for width in arm.regrets})
    rows = [
        [
            name_of(arm.name),
            *(estimate(arm.regrets.get(width)) for width in widths),
            f"{arm.loss:.3f}" if max(widths) in arm.transferred else "–",
        ]
        for arm in arms.values()
    ]
    return table(["rule", *(f"regret at {width}" for width in widths), f"loss at {widths[-1]}"], rows)


def collapse_table(powers: Mapping[float, Estimate]) -> str:
    """Returns, per learning rate, which power lays the curves of loss against decay on top of each other."""
    lines = []
    for rate, power in powers.items():
        low, high = power.interval or (power.value, power.value)
        holds = [name for name, p in RULES.items() if low <= p <= high]
        lines.append([f"2^{math.log2(rate):g}", estimate(power, 2), ", ".join(holds) or "none of 0, 1/2, 1"])
    return table(["learning rate at the base", "power p", "interval holds"], lines)


def regret_table(arms: Mapping[str, Arm]) -> str:
    """Returns the regret of every arm at every width."""
    widths = sorted({width for arm in arms.values() for width in arm.regrets})
    rows = [
        [name_of(arm.name), *(estimate(arm.regrets.get(width)) for width in widths[1:])]
        for arm in arms.values()
    ]
    return table(["regret", *(f"width {width}" for width in widths[1:])], rows)


def law_table(arms: Mapping[str, Arm]) -> str:
    """Returns how well optima follow a power of the width, and what a wrong learning rate costs."""
    rows = []
    for arm in arms.values():
        score = arm.score
        assert score is not None  # only arms at a strong decay have none
        lr, wd = score.learning_rate_law, score.weight_decay_law
        widths = sorted(score.widths)
        ends = [score.widths[width].sensitivity for width in (widths[0], widths[-1])]
        rows.append(
            [
                name_of(arm.name),
                estimate(lr.fit_error if lr else None, 2),
                estimate(wd.fit_error if wd else None, 2),
                estimate(lr.robustness if lr else None, 2),
                " → ".join(estimate(one) for one in ends),
                estimate(score.asymptotic_regret),
            ]
        )
    head = ["rule", "fit error of lr", "of wd", "robustness of lr", "sensitivity, narrowest → widest"]
    return table([*head, "asymptotic regret"], rows)


def slope_table(transferred: Mapping[str, Sequence[Row]], base: int) -> str:
    """Returns the power of the width that singular values and gains follow at each arm's transferred pair.

    Args:
      transferred: by arm, the trials of that pair.
      base: width.
    """
    found = {
        name: some for name, some in transferred.items() if len({row.observation.width for row in some}) > 2
    }
    lines = []
    for quantity in ("sigma_1", "gain"):
        slopes = {name: width_slopes(some, quantity) for name, some in found.items()}
        for kind in dict.fromkeys(kind for one in slopes.values() for kind in one):
            cells = [exponent(slopes[name].get(kind)) for name in found]
            lines.append([f"{'σ_top' if quantity == 'sigma_1' else 'gain'} `{short(kind)}`", *cells])
    moved = [f"{mismatch(some, base):.2f}" for some in found.values()]
    lines.append(["σ_top moves, octaves (rms)", *moved])
    return table(["power of the width", *map(name_of, found)], lines)


def exponent_table(
    measured: Mapping[str, Any] | None,
    powers: Mapping[str, Exponent | None],
    laws: Mapping[str, PowerFit | None],
) -> str:
    """Returns per kind of layer which power of the width the decay should follow, by its singular values.

    Args:
      measured: what `mupwd check --fit` found; None leaves its column out.
      powers: that keep singular values in the sweep, by kind.
      laws: of singular values in the sweep, by kind.
    """
    modules = {one["name"]: one for one in (measured or {}).get("modules", [])}
    lines = []
    for kind, power in powers.items():
        law = laws[kind]
        lines.append(
            [
                f"`{short(kind)}`",
                *([exponent(_read(modules.get(kind, {}).get("decay")))] if measured else []),
                exponent(power),
                *(exponent(law.exponents[name] if law else None) for name in ("lr", "wd", "m")),
            ]
        )
    head = ["kind of layer", *(["`mupwd check --fit`: decay ∝ m^"] if measured else [])]
    head += ["decay that keeps σ_top in the sweep ∝ m^", "σ_top ∝ lr^", "wd^", "m^"]
    return table(head, lines)


def shape_table(transferred: Sequence[Row]) -> str:
    """Returns how far normalised spectra of the transferred pair lie apart, between widths and between seeds."""
    lines = []
    for kind in kinds(transferred, "sigma_1"):
        between, within = shape_distance(transferred, kind)
        lines.append([f"`{short(kind)}`", f"{between:.2f}", f"{within:.2f}"])
    return table(["kind of layer", "between widths", "between seeds"], lines)


def elapsed_table(rows: Sequence[Row], own: Arm, base: int) -> str:
    """Returns how many decay timescales a matrix of each width lived through at a pair."""
    at_base = float(
        np.mean(
            [
                row.decay_elapsed
                for row in rows
                if row.observation.recipe == BASE_RULE
                and (row.observation.width, row.observation.pair) == (base, own.pair)
            ]
        )
    )
    steps = {row.observation.width: row.steps for row in rows}
    lines = []
    for name, power in RULES.items():
        cells = [
            f"{at_base * steps[width] / steps[base] * (width / base) ** (power - 1):.2f}"
            for width in sorted(own.transferred)
        ]
        lines.append([name, *cells])
    return table(["decay timescales", *(f"width {width}" for width in sorted(own.transferred))], lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def estimate(found: Estimate | None, digits: int = 3) -> str:
    """Returns a number with its interval."""
    if found is None:
        return "–"
    if math.isinf(found.value):
        return "diverges"
    if found.interval is None:
        return f"{found.value:.{digits}f}"
    low, high = found.interval
    return f"{found.value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def exponent(found: Exponent | None) -> str:
    """Returns a power with its interval."""
    if found is None:
        return "–"
    if found.interval is None:
        return f"{found.value:+.2f}"
    return f"{found.value:+.2f} [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"


def drift_words(found: Drift | None) -> str:
    """Returns a drift with its interval and verdict."""
    if found is None or math.isnan(found.slope):
        return "–" if found is None else "at an edge"
    interval = "" if found.interval is None else f" [{found.interval[0]:+.2f}, {found.interval[1]:+.2f}]"
    return f"{found.slope:+.2f}{interval} {found.verdict}"


def short(kind: str) -> str:
    """Returns a kind of layer without what all have in common."""
    return kind.removeprefix("layers/*/").removesuffix("/kernel")


def _decay_words(arms: Mapping[str, Arm], arm: Arm) -> str:
    found = _decay_drift(arm)
    own = _decay_drift(arms[OWN]) if OWN in arms else None
    if (
        arm.name in RULES
        and found is not None
        and math.isnan(found.slope)
        and own is not None
        and own.interval
    ):
        # The same trials, whose names under this rule leave the grid's: its best decay moves by that much less.
        less = RULES[arm.name] - RULES[OWN]
        low, high = own.interval
        return f"{own.slope - less:+.2f} [{low - less:+.2f}, {high - less:+.2f}], from {OWN}"
    return drift_words(found)


def _decay_drift(arm: Arm) -> Drift | None:
    """The joint optimum's where there is one: the best decay depends on the learning rate."""
    if arm.score is None:
        return None
    joint = arm.score.joint_weight_decay_drift
    return joint if joint is not None and not math.isnan(joint.slope) else arm.score.weight_decay_drift


def _read(found: Mapping[str, Any] | None) -> Exponent | None:
    if not found:
        return None
    interval = found["interval"]
    return Exponent(
        float(found["value"]), None if interval is None else (float(interval[0]), float(interval[1]))
    )
