"""Optuna as the one that chooses: it is asked for pairs and told their losses, and keeps nothing."""

from __future__ import annotations

import contextlib
import functools
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from mupwd.sweep.search import Losses, Screened, Search, Table
from mupwd.transfer.observations import Pair

GENERATION = 8
"""Trials that are chosen together: as many can run at the same time."""

_PER_OCTAVE = 2
_ATTEMPTS = 100  # at a pair that has not been chosen yet
_Place = tuple[int, int]


def axis(values: tuple[float, ...]) -> tuple[float, ...]:
    """Returns what Optuna chooses among: from the lowest to the highest value, in steps of about half an octave.

    So its trials lie on lines, which the scorecard's optima are fitted on, and no pair is told from another by less
    than the noise.

    Args:
      values: of which only the ends count.

    Example:
      >>> axis((1.0, 4.0))
      (1.0, 1.4142135623731, 2.0, 2.82842712474619, 4.0)
    """
    low, high = min(values), max(values)
    octaves = math.log2(high / low)
    steps = max(round(_PER_OCTAVE * octaves), 1) if octaves else 0
    # Fifteen digits: the last one is not the same on all machines, and a trial is known by it.
    inner = [float(f"{low * 2.0 ** (octaves * place / steps):.15g}") for place in range(1, steps)]
    return tuple(dict.fromkeys([low, *inner, high]))


@dataclass(frozen=True)
class OptunaStudy(Search):
    """A search by Optuna at each width, then what the scorecard needs around what it found.

    Pairs are chosen by a tree-structured Parzen estimator, eight at a time: a generation is a function of the losses
    of those before it, for which an Optuna study is put together in memory and thrown away again. So there is no
    database to share or to lose, and all processes agree. They screen with the first seed.

    Args:
      trials: of each recipe and width that Optuna chooses.

    Raises:
      ModuleNotFoundError: Optuna is not installed.
    """

    trials: int = 24
    stride: int = _PER_OCTAVE

    def __post_init__(self) -> None:
        _optuna()

    def screen(self, recipe: str, width: int, losses: Losses) -> Screened:
        """Returns the trials of the generations so far, and the best of them with its neighbours at the end."""
        shape = len(self.learning_rates), len(self.weight_decays)
        seed, trials = self.seeds[0], []
        told: tuple[tuple[_Place, float], ...] = ()
        while len(told) < min(self.trials, math.prod(shape)):
            places = generation(told, shape)[: self.trials - len(told)]
            batch = [self.trial(recipe, width, self._pair(place), seed) for place in places]
            trials += batch
            ran = losses.of(batch)
            if ran is None:
                return Screened(trials, None, {})
            told += tuple(zip(places, ran, strict=True))
        table: Table = {self._pair(place): {seed: loss} for place, loss in told}
        loss, best = min((loss, place) for place, loss in told)
        return Screened(trials, self.cross(self._pair(best)) if math.isfinite(loss) else [], table)

    def expected(self) -> dict[int, int]:
        """Returns `{width: trials}`, about as many as it will be: what is needed near the optima is not known yet."""
        pairs = len(self.learning_rates) * len(self.weight_decays)
        # All seeds of a pair and its neighbours, and one of those beyond.
        around = 5 * len(self.seeds) + 3
        return {
            width: len(self.recipes)
            * (min(self.trials, pairs) + around + (0 if width == self.widths[0] else around))
            for width in self.widths
        }

    def _pair(self, place: _Place) -> Pair:
        return self.learning_rates[place[0]], self.weight_decays[place[1]]


@functools.lru_cache(maxsize=4096)
def generation(told: tuple[tuple[_Place, float], ...], shape: _Place) -> tuple[_Place, ...]:
    """Returns the places that are to be tried next: new ones, as many as a generation has or as there are left.

    Args:
      told: every place that was tried, with its loss; infinite where the trial diverged or was given up.
      shape: how many learning rates and decays there are.
    """
    optuna = _optuna()
    names = ("learning_rate", "weight_decay")
    distributions = {
        name: optuna.distributions.IntDistribution(0, size - 1)
        for name, size in zip(names, shape, strict=True)
    }
    taken = {place for place, _ in told}
    chosen: list[_Place] = []
    with _quiet(optuna):
        # The generation's number is the seed. As many random trials as the first one has.
        sampler = optuna.samplers.TPESampler(n_startup_trials=GENERATION, seed=len(told) // GENERATION)
        study = optuna.create_study(sampler=sampler)
        # For what diverged: worse than all others, and a number.
        worst = 2 * max((abs(loss) for _, loss in told if math.isfinite(loss)), default=1.0)
        for place, loss in told:
            value = loss if math.isfinite(loss) else worst
            params = dict(zip(names, place, strict=True))
            study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=value))
        while len(chosen) < GENERATION and len(taken) < math.prod(shape):
            place = _ask(study, distributions, taken)
            taken.add(place)
            chosen.append(place)
    return tuple(chosen)


def _ask(study: Any, distributions: dict[str, Any], taken: set[_Place]) -> _Place:
    """The next place that Optuna names and that is free, or the free one that is nearest to the last it names."""
    optuna = _optuna()
    place = 0, 0
    for _ in range(_ATTEMPTS):
        asked = study.ask(distributions)
        place = asked.params["learning_rate"], asked.params["weight_decay"]
        if place not in taken:
            return place
        study.tell(asked, state=optuna.trial.TrialState.FAIL)
    sizes = [one.high + 1 for one in distributions.values()]
    free = [(i, j) for i in range(sizes[0]) for j in range(sizes[1]) if (i, j) not in taken]
    return min(free, key=lambda one: (math.dist(one, place), one))


@contextlib.contextmanager
def _quiet(optuna: Any) -> Iterator[None]:
    """Without a line for every study, and without warnings of what is new in Optuna."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def _optuna() -> Any:
    try:
        import optuna
    except ModuleNotFoundError:
        raise ModuleNotFoundError("Optuna is not installed: pip install 'mupwd[optuna]'") from None
    return optuna
