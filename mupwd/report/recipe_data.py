"""What a page's data say of one recipe at the pair of learning rate and decay that pictures show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mupwd.report.figure import width_style
from mupwd.report.pack import Reference
from mupwd.report.picture import power_label, short

if TYPE_CHECKING:
    from matplotlib.artist import Artist


_BESIDE = 20  # characters of a name that stands on one line with its pair


class RecipeData:
    """The runs of one recipe, and what their logs hold.

    Args:
      found: what `mupwd.report.payload.payload` returns.
      floats: its numbers, unpacked.
      recipe: by the name that the page uses.
    """

    def __init__(self, found: Mapping[str, Any], floats: np.ndarray, recipe: str) -> None:
        self.found, self.recipe, self._floats = found, recipe, floats
        self.pair = self._pair()
        chosen = [run["recipe"] == recipe and run["pair"] == self.pair for run in found["runs"]]
        self._numbers = frozenset(number for number, one in enumerate(chosen) if one)

    def of_runs(self, some: Sequence[Sequence[Any]]) -> list[Sequence[Any]]:
        """Returns the entries whose first item is one of the recipe's runs."""
        return [one for one in some if one[0] in self._numbers]

    def series(self, reference: Reference) -> np.ndarray:
        """Returns packed numbers."""
        start, count = reference
        return self._floats[start : start + count]

    def factor(self, number: int, layer: str) -> float | None:
        """Returns what makes a run's singular values theory-normalised; 1 where no log says it of the layer."""
        factors = self.found["spectra"]["factors"]
        return factors.get(str(number), {}).get(layer) if self.is_normalised(layer) else 1.0

    def is_normalised(self, layer: str) -> bool:
        """Whether a log says the layer's fans, so that its singular values compare across widths."""
        return any(layer in one for one in self.found["spectra"]["factors"].values())

    def style(self, number: int) -> dict[str, Any]:
        """Returns the colour and the marker of a run's width."""
        return width_style(self.found["widths"].index(self.found["runs"][number]["width"]))

    def layers(self, what: str, quantity: str) -> list[str]:
        """Returns the kinds of layers of which the recipe's runs have a quantity.

        Args:
          what: "matrix" or "gain".
          quantity: such as "sigma_1".
        """
        spectra = self.found["spectra"]
        names = [one["name"] for one in spectra["layers"] if one["what"] == what]
        return [name for name in names if self.of_runs(spectra["traces"].get(name, {}).get(quantity, []))]

    def keys(self) -> list[Artist]:
        """Returns what the legend says of the widths."""
        from matplotlib.lines import Line2D

        widths = {self.found["runs"][number]["width"] for number in self._numbers}
        return [
            Line2D([], [], label=f"width {width}" if width else "width unknown", **width_style(rank))
            for rank, width in enumerate(self.found["widths"])
            if width in widths
        ]

    def title(self, pair: str | None = None) -> str:
        """Returns the recipe and a pair, for a picture.

        Args:
          pair: None for the one that most pictures show.
        """
        name, pair = short(self.recipe), self.pair if pair is None else pair
        if not pair:
            return name
        rate, decay = (float(one) for one in pair.split(","))
        known = f", weight decay {power_label(decay)}" if decay == decay else ""
        between = ": " if len(name) <= _BESIDE else "\n"
        return f"{name}{between}learning rate {power_label(rate)}{known}"

    def _pair(self) -> str:
        """The tuned pair where it has runs with logs, else that of the most widths."""
        found = self.found
        logged = {one["run"] for one in found["spectra"]["health"]} | {one[0] for one in found["curves"]}
        widths: dict[str, set[int]] = {}
        for number, run in enumerate(found["runs"]):
            if run["recipe"] == self.recipe and number in logged:
                widths.setdefault(run["pair"], set()).add(run["width"])
        pairs = [group["pairs"][self.recipe] for group in found["loss"] if self.recipe in group["pairs"]]
        tuned = next(iter(pairs), "")
        if tuned in widths or not widths:
            return tuned
        return max(widths, key=lambda pair: len(widths[pair]))
