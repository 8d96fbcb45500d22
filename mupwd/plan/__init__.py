"""A recipe applied to one target width of a family."""

from mupwd.plan.errors import PlanError
from mupwd.plan.fit import check_is_plan
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Form, Plan
from mupwd.plan.resolve import growth, make_plan

__all__ = ["Form", "ParameterPlan", "Plan", "PlanError", "check_is_plan", "growth", "make_plan"]
