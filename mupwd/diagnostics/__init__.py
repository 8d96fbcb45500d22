"""What a run shows of its steady state: spectra, gains, coordinates and their power laws in width."""

from mupwd.diagnostics.coordinate import coordinate_check
from mupwd.diagnostics.coordinate_result import CoordinateCheck
from mupwd.diagnostics.instrument import UseStats, instrument

__all__ = ["CoordinateCheck", "UseStats", "coordinate_check", "instrument"]
