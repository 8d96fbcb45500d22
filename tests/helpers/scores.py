"""A scorecard of synthetic trials, and a setting for reports of it."""

from __future__ import annotations

from helpers.synthetic import observation
from mupwd.report.setting import Setting
from mupwd.transfer import RecipeScore, scorecard


def make_scores(
    recipes: tuple[str, ...] = ("stays", "moves"),
    lowest: int = -10,
    widths: tuple[int, ...] = (32, 64, 128),
    seeds: tuple[int, ...] = (0, 1, 2),
) -> dict[str, RecipeScore]:
    """Returns scores of a grid; a lowest learning rate of 2^-6 puts the wide optima of "moves" on the edge."""
    return scorecard(
        observation(recipe, width, 2.0**rate, 2.0**decay, seed)
        for recipe in recipes
        for width in widths
        for rate in range(lowest, -2)
        for decay in (-6, -4, -2, 0)
        for seed in seeds
    )


def make_setting(scores: dict[str, RecipeScore], **changes: object) -> Setting:
    """Returns a setting for a report of the scores."""
    values = {
        "command": "mupwd demo",
        "model": "LLaMA proxy, 2 layers",
        "corpus": "stdlib",
        "corpus_sha256": "ab" * 32,
        "steps": 500,
        "tokens": 1024,
        "seeds": (0, 1, 2),
        "decay": "coupled",
        "matrix": dict.fromkeys(scores, (0.25, 2.0)),
        "trials": 100,
        "trial_seconds": 90.0,
        "environment": {"python": "3.11", "versions": {"jax": "0.10"}, "git_revision": None},
    }
    return Setting(**values | changes)  # type: ignore[arg-type]
