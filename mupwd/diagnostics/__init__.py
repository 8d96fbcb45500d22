"""What a run shows of its steady state: spectra, gains, coordinates and their power laws in width."""

from mupwd.diagnostics.activations import ProductStats, activation_products
from mupwd.diagnostics.coordinate import coordinate_check
from mupwd.diagnostics.coordinate_result import CoordinateCheck
from mupwd.diagnostics.instrument import UseStats, instrument
from mupwd.diagnostics.observation import Observation
from mupwd.diagnostics.spectrum import spectrum
from mupwd.diagnostics.sublayers import sublayer_gains
from mupwd.diagnostics.tracker import SpectrumState, metrics, track_spectrum

__all__ = [
    "CoordinateCheck",
    "Observation",
    "ProductStats",
    "SpectrumState",
    "UseStats",
    "activation_products",
    "coordinate_check",
    "instrument",
    "metrics",
    "spectrum",
    "sublayer_gains",
    "track_spectrum",
]
