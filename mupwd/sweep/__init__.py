"""Sweeps: trials, their results on disk, and the studies made of them."""
