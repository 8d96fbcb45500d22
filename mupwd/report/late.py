"""What the log of a loop of one's own says of its last quarter, and of how much it decayed."""

from __future__ import annotations

import math

import numpy as np

from mupwd.report.runs import Run
from mupwd.transfer.steady_state import ELAPSED, LATE


def late(run: Run) -> dict[str, float]:
    """Returns the metrics that the steady state is judged by, as the proxy's own runs return them.

    Means of singular values and gains over the last quarter of the steps; and how much was decayed at the base,
    `sum over steps of lr_t * wd`, where "train/learning_rate" is logged: between two records the mean of both.

    Args:
      run: that is over.
    """
    last = run.log.last_step or 0
    found: dict[str, float] = {}
    for name, (steps, values) in run.log.series.items():
        if name.startswith("gain/") or (name.startswith("spectral/") and name.endswith("/sigma_1")):
            some = values[4 * steps > 3 * last]
            if len(some):
                found[name + LATE] = float(np.mean(some))
    rate = run.log.series.get("train/learning_rate")
    if rate is not None and not math.isnan(run.weight_decay):
        steps, values = rate
        means = np.concatenate([values[:1], (values[1:] + values[:-1]) / 2])
        found[ELAPSED] = float(np.sum(means * np.diff(steps, prepend=0)) * run.weight_decay)
    return found
