"""Reads from a program what every axis of every parameter does."""

from mupwd.tracing.errors import TraceError
from mupwd.tracing.roles import Parameter, Role
from mupwd.tracing.trace import ParameterAxes, trace_axes

__all__ = ["Parameter", "ParameterAxes", "Role", "TraceError", "trace_axes"]
