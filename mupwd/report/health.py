"""How the estimates of a run's singular values went."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from mupwd.report.layers import Series


def health(layers: Mapping[tuple[str, str], Mapping[str, Series]]) -> dict[str, Any]:
    """Returns counts over all matrices and observations of a run; None of what the log does not tell.

    Args:
      layers: what `by_layer` returns.
    """

    def every(quantity: str) -> np.ndarray:
        some = [one[quantity][1] for one in layers.values() if quantity in one]
        return np.concatenate([*some, np.zeros(0)])

    passes, converged, error = every("passes"), every("converged"), every("err_1")
    error = error[np.isfinite(error)]
    audits = [one["disagreements"][1][-1] for one in layers.values() if "disagreements" in one]
    worst = max(
        (
            (float((one["converged"][1] < 1).mean()), layer)
            for (_, layer), one in layers.items()
            if "converged" in one
        ),
        default=(0.0, ""),
    )
    return {
        "matrices": sum(what == "matrix" for what, _ in layers),
        "observations": len(converged) or len(every("sigma_1")),
        "passes": _rounded(passes.mean()) if len(passes) else None,
        "most": _rounded(passes.max()) if len(passes) else None,
        "unconverged": int((converged < 1).sum()) if len(converged) else None,
        "worst": worst[1] if worst[0] > 0 else "",
        "error": _rounded(error.max()) if len(error) else None,
        "audits": int(sum(one for one in audits if math.isfinite(one))) if audits else None,
    }


def _rounded(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None
