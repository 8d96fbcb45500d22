"""What a run shows of its steady state: spectra, gains, coordinates and their power laws in width."""

from mupwd.diagnostics.instrument import UseStats, instrument

__all__ = ["UseStats", "instrument"]
