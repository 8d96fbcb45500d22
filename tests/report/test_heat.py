"""Maps of losses: what ran to the end counts, and what did not is told apart."""

import math

from helpers.scores import make_scores

from mupwd.report.heat import heatmaps
from mupwd.report.runs import Run


def run(rate, decay, loss, *, status="finished", seed=0):
    return Run("run", "stays", 32, rate, decay, seed, status, {"eval/loss": loss})


def test_cells():
    score = make_scores(("stays",))["stays"]
    runs = [
        run(0.25, 0.5, 2.0), run(0.25, 0.5, 3.0, seed=1), run(0.25, 0.5, 9.0, status="stopped"),
        run(0.5, 0.5, 2.0), run(0.5, 0.5, math.inf, status="diverged", seed=1),
        run(0.25, 1.0, 9.0, status="stopped"),
    ]  # fmt: skip
    (found,) = heatmaps(score, runs)
    assert (found["rates"], found["decays"]) == ([0.25, 0.5], [0.5, 1.0])
    assert found["losses"] == [[2.5, "x"], ["s", None]]
