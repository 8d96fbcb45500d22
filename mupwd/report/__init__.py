"""Reports: runs and scorecards as text, page and picture, and the log of a train loop of your own."""

from __future__ import annotations

from mupwd.report.run_log import RunLog
from mupwd.report.sinks import TensorBoard

__all__ = ["RunLog", "TensorBoard"]
