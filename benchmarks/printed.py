"""The numbers that the performance page and README quote, read off what the benchmarks printed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_RATIO = re.compile(r"(?P<value>\d[\d.e+]*) +(?P<low>\d[\d.e+]*) to (?P<high>\d[\d.e+]*)")


@dataclass(frozen=True)
class Printed:
    """What one benchmark printed.

    Attributes:
      name: of its file, for messages.
      text: of the file: command, machine, output.
    """

    name: str
    text: str

    @classmethod
    def of(cls, file: Path) -> Printed:
        """Reads a kept output.

        Raises:
          FileNotFoundError: it was never kept.
        """
        if not file.is_file():
            raise FileNotFoundError(
                f"{file}: missing; python benchmarks/performance.py --run {file.stem} makes it"
            )
        return cls(file.name, file.read_text(encoding="utf-8"))

    @property
    def where(self) -> str:
        """Date, machine and versions."""
        return self.text.splitlines()[1].removeprefix("# ")

    def sections(self) -> list[str]:
        """The headings of tables: lines at the margin after an empty one."""
        return re.findall(r"\n\n(\S[^\n]*)\n", self.text)

    def line(self, label: str, section: str = "") -> str:
        """Returns the rest of the one line that begins with a label.

        Args:
          label: the whole of it.
          section: the heading of a table; "": anywhere.

        Raises:
          ValueError: there is none, or there are several.
        """
        part = self.text
        if section:
            part = part.partition(f"\n\n{section}\n")[2].partition("\n\n")[0]
        found = re.findall(rf"^ *{re.escape(label)}(?= {{2,}}|: )(.*)$", part, re.MULTILINE)
        if len(found) != 1:
            raise ValueError(
                f"{self.name}: expected one line that begins with {label!r} under {section!r}, found {len(found)}"
            )
        return found[0]

    def columns(self, label: str, section: str = "") -> list[str]:
        """Returns the words of that line after its label."""
        return self.line(label, section).split()

    def ratio(self, label: str, section: str = "") -> str:
        """Returns the ratio of that line as "1.003 [0.978, 1.027]"."""
        found = _RATIO.search(self.line(label, section))
        if found is None:
            raise ValueError(f"{self.name}: no ratio with an interval in the line of {label!r}")
        return f"{found['value']} [{found['low']}, {found['high']}]"


def numbers(printed: Mapping[str, Printed]) -> dict[str, str]:
    """Returns every number that sentences quote, by its name.

    Args:
      printed: by the benchmark's name.
    """
    found = {
        "where": printed["optimizer"].where,
        "adamw": printed["optimizer"].ratio("mupwd.adamw"),
        "adamw_again": printed["optimizer"].ratio("optax.adamw, again"),
        "adamw_parameters": printed["optimizer"].text.splitlines()[2].split(" ")[0],
        "forward": printed["forward"].ratio("apply_forward"),
        "plan_seconds": f"{float(printed['plan'].columns('unrolled')[3]):.1f}",
        "plan_scanned_seconds": f"{float(printed['plan'].columns('scanned')[3]):.1f}",
        "tracked": printed["training"].ratio("track_spectrum, every 10"),
        "tracked_again": printed["training"].ratio("without, again"),
        "tracked_idle": printed["training"].ratio("track_spectrum, never"),
        "tracked_compile": printed["training"].columns("track_spectrum, every 10")[-2],
        "tracked_passes": printed["training"].columns("track_spectrum, every 10")[-1],
    }
    return found | _proxy(printed["proxy"]) | _spectral(printed["spectral"]) | _dispatch(printed["dispatch"])


def _proxy(one: Printed) -> dict[str, str]:
    rows = re.findall(r"^ +\d+ .*$", one.text, re.MULTILINE)
    ratios = [float(row.split("[")[-2].split()[-1]) for row in rows]
    return {"proxy_low": f"{min(ratios):.2f}", "proxy_high": f"{max(ratios):.2f}"}


def _spectral(one: Printed) -> dict[str, str]:
    """How many times faster ours is, over the matrices and the stack."""
    found: dict[str, str] = {}
    for part in ("cold", "warm"):
        sections = [name for name in one.sections() if name.endswith(f", {part}")]
        squares = [name for name in sections if name.count(" x ") == 1]
        for name, label in (
            ("svd", "jnp.linalg.svd"),
            ("power", "optax.power_iteration"),
            ("lobpcg", "lobpcg_standard"),
        ):
            ratios = [float(one.columns(label, section)[1]) for section in squares]
            found |= {f"{part}_{name}_low": f"{min(ratios):.2g}", f"{part}_{name}_high": f"{max(ratios):.2g}"}
        (stack,) = set(sections) - set(squares)
        found[f"stack_{part}_svd"] = one.columns("jnp.linalg.svd", stack)[1]
        found[f"stack_{part}_lobpcg"] = one.columns("lobpcg_standard", stack)[1]
    gaussian = "Gaussian, 2048 x 2048, cold"
    found["cold_passes"] = one.columns("mupwd.track_spectrum, first", gaussian)[-3]
    found["cold_flax_error"] = f"{100 * float(one.columns('flax nnx.SpectralNorm', gaussian)[-2]):.0f} %"
    found["cold_flax_passes"] = one.columns("flax nnx.SpectralNorm", gaussian)[-3]
    return found


def _dispatch(one: Printed) -> dict[str, str]:
    def times(label: str) -> str:
        return one.columns(label)[-3]

    rows = re.findall(r"^mupwd sweep .*$", one.text, re.MULTILINE)
    ours = [row.split()[-7] for row in rows]
    return {
        "dispatch_low": min(ours),
        "dispatch_high": max(ours),
        "dispatch_optuna": times("Optuna, grid, journal file"),
        "dispatch_ray": times("Ray Tune, grid"),
    }
