"""A scorecard as text in a terminal."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mupwd.report.setting import Setting
from mupwd.report.units import units_said
from mupwd.report.words import (
    SIGNS,
    UNIT,
    Sentence,
    comparison,
    horizon_words,
    noticed,
    optimum_words,
    sentences,
    tuned_words,
    value_words,
)
from mupwd.transfer import RecipeScore

# The table needs so many columns; a narrower terminal wraps them, which loses nothing.
_WIDTH = 84
_STYLES = {"good": "green", "bad": "red", "open": "yellow"}


class PatientConsole(Console):
    """A console that falls silent where its reader, such as `head`, has seen enough: the command goes on.

    Rich would end the program with exit code 1, which of a sweep means that trials failed.
    """

    def on_broken_pipe(self) -> None:
        """Prints nothing from now on."""
        self.quiet = True


def print_scorecard(console: Console, scores: Mapping[str, RecipeScore], setting: Setting | None) -> None:
    """Prints the optima per width, their drift and the regret of every recipe.

    Args:
      console: where to.
      scores: what `mupwd.transfer.scorecard` returns.
      setting: how the trials were run; None where that is not known of the model.
    """
    unit = "" if setting is None else UNIT
    for score in scores.values():
        console.print()
        units = units_said(setting, score)
        console.print(
            f"[bold]{escape(score.recipe)}[/bold]  {tuned_words(score, units.base)}",
            highlight=False,
            soft_wrap=True,
        )
        if setting is not None and (horizon := horizon_words(score, setting, units)):
            console.print(f"  {horizon}", highlight=False, soft_wrap=True)
        console.print(_table(score), width=max(console.width, _WIDTH), crop=False)
        for sentence in [*sentences(score, unit), *noticed(score, setting)]:
            _print(console, sentence)
    console.print()
    for sentence in comparison(scores, unit):
        _print(console, sentence)
    console.print(
        f"Losses are {'eval/loss' if setting is None else 'nats per token of held-out text'}, ± the noise of one "
        "trial; [low, high] are 95% intervals. The best "
        "pair is the best of those that ran with all seeds. The optimum at a width is a "
        "parabola's minimum in log2, weight decay at that width's own best learning rate.",
        style="dim",
        highlight=False,
        markup=False,
    )


def _table(score: RecipeScore) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 1), header_style="dim")
    table.add_column("width", justify="right", min_width=5)
    table.add_column("best learning rate", no_wrap=True)
    table.add_column("best weight decay", no_wrap=True)
    table.add_column("best pair", no_wrap=True)
    table.add_column("its loss", justify="right", no_wrap=True)
    for width, one in score.widths.items():
        noise = f"{one.loss:.3f} ± {one.noise:.3f}" if one.noise == one.noise else f"{one.loss:.3f}"
        table.add_row(
            str(width),
            escape(optimum_words(one.learning_rate.optimum)),
            escape(optimum_words(one.weight_decay.optimum)),
            f"{value_words(one.best[0])}, {value_words(one.best[1])}",
            noise,
        )
    return table


def _print(console: Console, sentence: Sentence) -> None:
    sign = f"[{_STYLES[sentence.mark]}]{SIGNS[sentence.mark]}[/]"
    console.print(f"  {sign} {escape(sentence.text)}", highlight=False, soft_wrap=True)
