"""What a run shows of its steady state: spectra, gains, coordinates and their power laws in width."""
