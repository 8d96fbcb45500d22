"""A scorecard as one self-contained page: nothing is loaded from anywhere."""

from __future__ import annotations

import dataclasses
import html
import importlib.resources
import json
import math
from collections.abc import Mapping
from string import Template

from mupwd.report.curves import AXES, axis_names, loss_range, panels
from mupwd.report.setting import Setting
from mupwd.report.words import (
    SIGNS,
    Sentence,
    comparison,
    estimate_words,
    horizon_words,
    optimum_words,
    power,
    regret_words,
    sentences,
    short_drift,
    tuned_words,
)
from mupwd.transfer import RecipeScore


def page(scores: Mapping[str, RecipeScore], setting: Setting) -> str:
    """Returns the page.

    Args:
      scores: what `mupwd.transfer.scorecard` returns.
      setting: how the trials were run.
    """
    static = importlib.resources.files("mupwd.report") / "static"
    first = next(iter(scores.values()))
    data = {
        "axes": axis_names(setting.decay),
        "range": loss_range(scores),
        "widths": sorted({width for score in scores.values() for width in score.widths}),
        "base": min(first.widths),
        "panels": [dataclasses.asdict(panel) for panel in panels(scores)],
    }
    return Template((static / "page.html").read_text(encoding="utf-8")).substitute(
        base=min(first.widths),
        target=first.target,
        verdict=_verdict(scores),
        comparison="".join(_item(sentence) for sentence in comparison(scores)),
        recipes="".join(_recipe(score, setting) for score in scores.values()),
        setting=_setting(setting),
        data=_script_json(data),
        plotly=(static / "plotly-cartesian.min.js").read_text(encoding="utf-8"),
        script=(static / "page.js").read_text(encoding="utf-8"),
    )


def _script_json(data: object) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(data, allow_nan=False).replace("<", "\\u003c")


def _item(sentence: Sentence) -> str:
    return f'<li class="{sentence.mark}">{_sign(sentence)}{_powers(sentence.text)}</li>'


def _verdict(scores: Mapping[str, RecipeScore]) -> str:
    """One row per recipe: what stays, and what not staying costs."""
    rows = "".join(
        f'<tr><th scope="row"><a href="#{html.escape(score.recipe)}">{html.escape(score.recipe)}</a></th>'
        f"{_cell(short_drift(score.learning_rate_drift))}{_cell(short_drift(score.weight_decay_drift))}"
        f"{_cell(Sentence(regret_words(score).mark, estimate_words(score.regret)))}</tr>"
        for score in scores.values()
    )
    target = next(iter(scores.values())).target
    return (
        '<table class="verdict"><thead><tr><th scope="col">recipe</th><th scope="col">best learning rate</th>'
        '<th scope="col">best weight decay</th>'
        f'<th scope="col">loss above the best at width {target}</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _cell(sentence: Sentence) -> str:
    return f'<td class="{sentence.mark}">{_sign(sentence)}{_powers(sentence.text)}</td>'


def _sign(sentence: Sentence) -> str:
    label = {"good": "good", "bad": "not good", "open": "open"}[sentence.mark]
    return f'<span class="sign" role="img" aria-label="{label}">{SIGNS[sentence.mark]}</span>'


def _recipe(score: RecipeScore, setting: Setting) -> str:
    name = html.escape(score.recipe)
    rows = "".join(
        f'<tr><th scope="row">{width}</th><td>{_powers(optimum_words(one.learning_rate.optimum))}</td>'
        f"<td>{_powers(optimum_words(one.weight_decay.optimum))}</td>"
        f"<td>{_powers(power(math.log2(one.best[0])))}, {_powers(power(math.log2(one.best[1])))}</td>"
        f'<td class="number">{one.loss:.3f}{_noise(one.noise)}</td></tr>'
        for width, one in score.widths.items()
    )
    items = "".join(_item(sentence) for sentence in sentences(score))
    plots = "".join(f'<div class="plot" data-recipe="{name}" data-axis="{axis}"></div>' for axis in AXES)
    return (
        f'<section id="{name}"><h2>{name}</h2><p>{_powers(tuned_words(score))}.</p><ul class="findings">{items}</ul>'
        f'<div class="plots">{plots}</div>'
        '<div class="scroll"><table><thead><tr><th scope="col">width</th><th scope="col">best learning rate</th>'
        '<th scope="col">best weight decay</th><th scope="col">best pair that ran</th>'
        '<th scope="col" class="number">its loss ± noise</th></tr></thead>'
        f'<tbody>{rows}</tbody></table></div><p class="note">{_powers(horizon_words(score, setting))}.</p></section>'
    )


def _noise(noise: float) -> str:
    return "" if math.isnan(noise) else f" ± {noise:.3f}"


def _powers(text: str) -> str:
    """Escapes text and raises the exponents of its powers of two."""
    words = []
    for word in html.escape(text).split(" "):
        head, power_sign, exponent = word.partition("2^")
        digits = exponent.rstrip(",.;)") if power_sign else ""
        raised = f"2<sup>{digits.replace('-', '−')}</sup>{exponent[len(digits) :]}"
        words.append(head + raised if power_sign else word)
    return " ".join(words)


def _setting(setting: Setting) -> str:
    rows = {
        "command": setting.command,
        "model": setting.model,
        "text": f"{setting.corpus}, sha256 {setting.corpus_sha256}",
        "length": f"{setting.steps:,} steps of {setting.tokens:,} tokens",
        "trials": f"{setting.trials}, seeds {', '.join(map(str, setting.seeds))}; "
        f"{setting.trial_seconds / 60:.1f} minutes of trials",
        **{key.replace("_", " "): _plain(value) for key, value in setting.environment.items()},
    }
    return "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd>" for key, value in rows.items())


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {one}" for key, one in value.items() if one is not None)
    return str(value)
