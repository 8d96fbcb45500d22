"""What a plan cannot answer for: axes other than width that its recipe has no rule for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mupwd.plan.plan import Plan


def notices(plan: Plan) -> tuple[str, ...]:
    """Returns a sentence per axis; see `Plan.notices`."""
    ratios = {
        "depth": ("depth", plan.depth_ratio, "completep and completed_p have"),
        "batch": ("batch size", plan.batch_ratio, "completed_p has"),
        "tokens": ("training tokens", plan.token_ratio, "completed_p has"),
        "sequence": ("sequence length", plan.sequence_ratio, "no recipe has"),
    }
    return tuple(
        f"{name} ×{ratio:.3g}: recipe {plan.recipe} has no rule for it, so what was tuned at the base need not hold; "
        f"{which} one"
        for axis, (name, ratio, which) in ratios.items()
        if ratio != 1 and axis not in plan.rules.covers
    )
