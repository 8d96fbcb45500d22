"""What a scorecard measures besides its verdict, as text in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from mupwd.report.words import estimate_words, optimum_words
from mupwd.transfer import Estimate, RecipeScore

_ANY = 1000


def print_measures(console: Console, scores: Mapping[str, RecipeScore]) -> None:
    """Prints joint optima, sensitivity and regret per width, and the numbers that all widths give together.

    Args:
      console: where to.
      scores: what `mupwd.scorecard` returns.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1), header_style="dim")
    table.add_column("recipe", no_wrap=True)
    table.add_column("width", justify="right")
    for column in ("joint learning rate", "joint weight decay", "sensitivity", "regret"):
        table.add_column(column, no_wrap=True)
    lacking: dict[str, dict[str, None]] = {}  # what is missing, by the reason
    for score in scores.values():
        for width, one in score.widths.items():
            table.add_row(
                escape(score.recipe),
                str(width),
                escape(optimum_words(one.joint.learning_rate if one.joint else None)),
                escape(optimum_words(one.joint.weight_decay if one.joint else None)),
                escape(_words(one.sensitivity)),
                escape(_words(score.regrets.get(width))),
            )
            for name, why in one.missing.items():
                lacking.setdefault(why, {})[name] = None
    console.print("\nBesides (docs/transfer.md says what each number is):", style="dim", highlight=False)
    # As wide as its content: a narrower terminal wraps it, which loses nothing.
    table.width = Measurement.get(console, console.options.update(max_width=_ANY), table).maximum
    console.print(table, crop=False)
    for score in scores.values():
        for line in _lines(score):
            console.print(f"  {line}", highlight=False, soft_wrap=True, markup=False)
        for name, why in score.missing.items():
            lacking.setdefault(why, {})[name] = None
    for why, names in lacking.items():
        text = f"  not measured: {', '.join(names)}: {why}"
        console.print(text, style="dim", highlight=False, soft_wrap=True, markup=False)


def _lines(score: RecipeScore) -> list[str]:
    found = []
    for what, law in (("learning rate", score.learning_rate_law), ("weight decay", score.weight_decay_law)):
        if law is None:
            continue
        for name, one, unit in (
            ("fit error of its power law", law.fit_error, " octaves"),
            ("robustness exponent", law.robustness, ""),
        ):
            if one is not None:
                found.append(f"{score.recipe}: best {what}: {name} {_words(one)}{unit}")
    for name, one in (
        ("regret at infinite width", score.asymptotic_regret),
        ("penalty against the best recipe at infinite width", score.asymptotic_penalty),
    ):
        if one is not None:
            found.append(f"{score.recipe}: {name} {_words(one)}")
    if score.tuning_gain is not None:
        gain = score.tuning_gain
        found.append(
            f"{score.recipe}: the sweep at width {score.tuned_at} costs what {gain.bought} trials at width "
            f"{score.target} do; the best of so many would lose {_words(gain.gain)} against the transferred pair"
        )
    return found


def _words(one: Estimate | None) -> str:
    return "-" if one is None else estimate_words(one)
