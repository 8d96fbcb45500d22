"""AdamW as its papers write it, in NumPy and float64: what the transforms are held against."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mupwd.plan import Plan

Arrays = Mapping[str, np.ndarray]


class AdamW:
    """Decoupled-decay Adam with the plan's factors, one parameter at a time.

    `arguments` are those of `mupwd.adamw`; they may be changed between steps.
    """

    def __init__(self, plan: Plan, **arguments: float):
        self.plan = plan
        self.arguments = {
            "b1": 0.9,
            "b2": 0.999,
            "eps": 1e-8,
            "eps_root": 0.0,
            "weight_decay": 1e-4,
        } | arguments
        self._count = 0
        self._moments: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def step(self, params: Arrays, gradients: Arrays) -> dict[str, np.ndarray]:
        self._count += 1
        return {name: self._leaf(name, params[name], g) for name, g in gradients.items()}

    def _leaf(self, name: str, w: np.ndarray, g: np.ndarray) -> np.ndarray:
        a, factors = self.arguments, self.plan[name]
        b1, b2 = (1 - (1 - a[b]) * self.plan.beta_ratio for b in ("b1", "b2"))
        m, v = self._moments.get(name, (np.zeros_like(w), np.zeros_like(w)))
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        self._moments[name] = m, v
        m_hat, v_hat = m / (1 - b1**self._count), v / (1 - b2**self._count)
        u = m_hat / (np.sqrt(v_hat + a["eps_root"] * factors.eps**2) + a["eps"] * factors.eps)
        step, decay = a["learning_rate"] * factors.lr, a["weight_decay"] * factors.wd
        return w - step * u - step * decay * w


def clipped(gradients: Arrays, plan: Plan, max_norm: float) -> dict[str, np.ndarray]:
    """Scales gradients to a global norm that is taken as the forward form has it."""
    norm = np.sqrt(sum(np.sum((g / plan[name].gradient) ** 2) for name, g in gradients.items()))
    return {name: g * min(1.0, max_norm / norm) for name, g in gradients.items()}
