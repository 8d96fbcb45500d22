"""A headless Chromium: the one of this machine, or Debian's, installed where that can be done."""

from __future__ import annotations

import os
import shutil
import subprocess

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Returns its path; None where there is none and none can be had."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found or os.geteuid() != 0 or shutil.which("apt-get") is None:
        return found
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
        if subprocess.run(
            ["apt-get", *command], env=environment, capture_output=True, timeout=600
        ).returncode:
            return None
    return shutil.which("chromium")
