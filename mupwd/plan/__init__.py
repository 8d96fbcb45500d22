"""A recipe applied to one target width of a family."""

from mupwd.plan.errors import PlanError
from mupwd.plan.parameter import ParameterPlan
from mupwd.plan.plan import Form, Plan
from mupwd.plan.resolve import growth, make_plan

__all__ = ["Form", "ParameterPlan", "Plan", "PlanError", "growth", "make_plan"]
