"""The measured exponents as text: a table, the decay rules they support, and the recipe to use."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mupwd.diagnostics.powers import Exponent
    from mupwd.transfer.exponent import ExponentFit, ModuleExponent


def exponent_words(fit: ExponentFit) -> str:
    """Returns the fit as lines of text.

    Args:
      fit: what `fit_exponent` returned.
    """
    diverged = [f"diverged, left out: {run}" for run in fit.diverged]
    if fit.steps:
        steps = ", ".join(f"{steps:,} at width {width}" for width, steps in sorted(fit.steps.items()))
        return "\n".join(
            [f"too short to fit: sigma still remembers its start; steps needed: {steps}", *diverged]
        )
    name = max([len("sigma ∝ lr^a wd^b m^e"), *(len(one.name) for one in fit.modules)]) + 2
    columns = ("a (1/2)", "b (-1/2)", "e", "decay m^p")
    head = "".join(f"{column:>22}" for column in columns)
    text = [f"{'sigma ∝ lr^a wd^b m^e':<{name}}{head}  supports", *(_row(one, name) for one in fit.modules)]
    text += [_note(one) for one in fit.modules if _note(one)] + diverged
    if len(fit.exponents) == len(fit.modules) > 0:
        given = ",\n".join(f"    {pattern!r}: {e:g}" for pattern, e in fit.exponents.items())
        text += ["", "the recipe, to pass as recipe=:", f"mupwd.recipes.fitted({{\n{given},\n}})"]
    return "\n".join([*text, "", f"verdict: {fit.verdict}"])


def _row(one: ModuleExponent, name: int) -> str:
    if one.free is None:
        return f"{one.name:<{name}}{'-':>22}"
    cells = [one.free.exponents["learning_rate"], one.free.exponents["weight_decay"], one.e, one.decay]
    supports = one.supports
    words = "undecided" if supports is None else ", ".join(supports) or "none"
    return f"{one.name:<{name}}{''.join(f'{_cell(cell):>22}' for cell in cells)}  {words}"


def _cell(one: Exponent | None) -> str:
    if one is None:
        return "-"
    interval = "" if one.interval is None else f" [{one.interval[0]:.2f}, {one.interval[1]:.2f}]"
    return f"{one.value:.2f}{interval}"


def _note(one: ModuleExponent) -> str:
    if one.note:
        return f"{one.name}: {one.note}"
    if not one.theory_holds:
        assert one.imposed is not None
        return (
            f"{one.name}: sigma does not follow sqrt(lr / wd); with ± 1/2 imposed e is "
            f"{_cell(one.imposed.exponents['ratio'])}"
        )
    return ""
