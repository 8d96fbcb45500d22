"""A sweep as it is declared: widths, learning rates, decays, recipes, seeds and how long each trial is."""

from __future__ import annotations

import dataclasses
import json
import math
import runpy
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from mupwd import recipes as known_recipes
from mupwd.files import read_json
from mupwd.named import TheirError
from mupwd.named import where as located
from mupwd.proxy.config import unknown_names
from mupwd.proxy.disk import write_atomic
from mupwd.sweep.fixed import FixedStudy, Wanted
from mupwd.sweep.grid import parse_values
from mupwd.sweep.halving import HalvingStudy, rungs
from mupwd.sweep.horizon import steps_for
from mupwd.sweep.optuna_study import OptunaStudy, axis
from mupwd.sweep.trial import Trial, check_hyperparameters

FILE_NAME = "sweep.json"
AXES = ("widths", "recipes", "learning_rates", "weight_decays", "seeds")
_MOST_SEEDS = 100_000
_GENERATED = ("learning_rate", "weight_decay", "recipe", "base", "steps", "stop_at", "token_ratio")


@dataclass(frozen=True)
class Sweep:
    """A grid: every recipe, width, learning rate, decay and seed, unless halving or Optuna leave some out.

    Args:
      widths: ascending; the widest is the target.
      learning_rates: at the base; a recipe scales them at the other widths.
      weight_decays: likewise; per unit of learning rate, or per step where the hyperparameter `decay` is
        "independent".
      recipes: their names; "fitted(0.8)" is one.
      seeds: of initial values and data.
      base: the width at which learning rates and decays mean what they say; None: the narrowest.
      steps: of every trial; None where `tokens_per_parameter` says it.
      tokens_per_parameter: of the proxy; steps then grow with the number of all its parameters.
      train: "package.module:function" of a model of one's own; None: the proxy.
      hyperparameters: everything else that trials are given.
      halving: stop the worse part of the pairs early, all but one in so many; None: all run to their end.
      optuna: let Optuna choose so many pairs per recipe and width, between the lowest and the highest learning rate
        and decay; None: the whole grid.

    Raises:
      ValueError: a field is missing, out of its range or repeats itself; the message names it.

    Example:
      >>> sweep = Sweep((32, 64), (2**-6, 2**-5), (0.5,), seeds=(0, 1), steps=100)
      >>> len(sweep.trials), sweep.trials[0].hyperparameters["steps"]
      (8, 100)
    """

    widths: tuple[int, ...]
    learning_rates: tuple[float, ...]
    weight_decays: tuple[float, ...]
    recipes: tuple[str, ...] = ("mupwd",)
    seeds: tuple[int, ...] = (0, 1, 2)
    base: int | None = None
    steps: int | None = None
    tokens_per_parameter: float | None = None
    train: str | None = None
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)
    halving: int | None = None
    optuna: int | None = None

    def __post_init__(self) -> None:
        for name in AXES:
            values = getattr(self, name)
            if not values or len(set(values)) != len(values):
                raise ValueError(f"sweep: {name} must be one or more different values, got {list(values)}")
            kind = str if name == "recipes" else int if name in ("widths", "seeds") else float | int
            wrong = [one for one in values if not isinstance(one, kind) or isinstance(one, bool)]
            lowest = {"recipes": None, "seeds": 0}.get(name, 1e-300)
            wrong += (
                [] if wrong or lowest is None else [one for one in values if not lowest <= one < math.inf]
            )
            if wrong:
                least = {"seeds": 0, "widths": 1}.get(name)
                what = (
                    "a name"
                    if name == "recipes"
                    else f"a whole number of at least {least}"
                    if kind is int
                    else "a number above 0"
                )
                raise ValueError(f"sweep: {name}: {wrong[0]!r} is not {what}; got {list(values)}")
        rules = [known_recipes.get(name).name for name in self.recipes]
        if len(set(rules)) != len(rules):
            raise ValueError(f"sweep: recipes: two of {list(self.recipes)} are the same rule")
        object.__setattr__(self, "widths", tuple(sorted(self.widths)))
        if self.base is None:
            object.__setattr__(self, "base", self.widths[0])
        if (self.steps is None) == (self.tokens_per_parameter is None):
            raise ValueError(
                f"sweep: give either steps or tokens_per_parameter; got {self.steps} and {self.tokens_per_parameter}"
            )
        for name in ("base", "steps", "tokens_per_parameter"):
            value = getattr(self, name)
            kind = int | float if name == "tokens_per_parameter" else int
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, kind) or not 0 < value < math.inf
            ):
                what = "a whole number" if kind is int else "a number"
                raise ValueError(f"sweep: {name} must be {what} above 0, got {value!r}")
        if self.train is not None and not isinstance(self.train, str):
            raise ValueError(f'sweep: train must be a name, "package.module:function", got {self.train!r}')
        if self.train is not None and self.tokens_per_parameter is not None:
            raise ValueError(
                "sweep: tokens_per_parameter is of the proxy; give steps for a model of your own"
            )
        if taken := [name for name in _GENERATED if name in self.hyperparameters]:
            raise ValueError(f"sweep: hyperparameters may not hold {taken[0]!r}: the sweep says it")
        check_hyperparameters("sweep", self.hyperparameters)
        self._check_search()

    def _check_search(self) -> None:
        for name, least in (("halving", 2), ("optuna", 1)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ValueError(f"sweep: {name} must be a whole number of at least {least}, got {value!r}")
        if None not in (self.halving, self.optuna):
            raise ValueError(f"sweep: give either halving or optuna; got {self.halving} and {self.optuna}")
        if self.halving is not None:
            for width in self.widths:
                rungs(self.given(width), self.halving)
        if self.optuna is not None and len(self.learning_rates) == len(self.weight_decays) == 1:
            raise ValueError(
                "sweep: optuna chooses between the lowest and the highest learning rate and decay; both are the same"
            )

    @property
    def target(self) -> int:
        """The widest width."""
        return self.widths[-1]

    @property
    def adaptive(self) -> bool:
        """Whether what runs depends on losses."""
        return self.halving is not None or self.optuna is not None

    @cached_property
    def trials(self) -> tuple[Trial, ...]:
        """All trials of the grid, the first seed of every point before the second."""
        given = {width: self.given(width) for width in self.widths}
        return tuple(
            Trial(
                width,
                {**given[width], "recipe": recipe, "learning_rate": rate, "weight_decay": decay},
                seed,
            )
            for seed in self.seeds
            for width in self.widths
            for recipe in self.recipes
            for rate in self.learning_rates
            for decay in self.weight_decays
        )

    def given(self, width: int) -> dict[str, Any]:
        """Returns what all trials of a width are given."""
        common = {**self.hyperparameters, "base": self.base}
        if self.steps is not None:
            steps, ratio = self.steps, {}
        else:
            assert self.base is not None
            assert self.tokens_per_parameter is not None
            steps, at_base = (
                steps_for(one, self.base, self.tokens_per_parameter, self.hyperparameters)
                for one in (width, self.base)
            )
            ratio = {"token_ratio": steps / at_base}
        warmup = {} if self.train is not None or "warmup" in common else {"warmup": steps // 10}
        return {**common, **ratio, **warmup, "steps": steps}

    def study(self) -> Wanted:
        """Returns what is to be run.

        Raises:
          ModuleNotFoundError: Optuna is to choose, and is not installed.
        """
        rates, decays = tuple(sorted(self.learning_rates)), tuple(sorted(self.weight_decays))
        given = {width: self.given(width) for width in self.widths}
        common = (self.widths, self.recipes)
        if self.halving is not None:
            return HalvingStudy(*common, rates, decays, self.seeds, given, factor=self.halving)
        if self.optuna is not None:
            return OptunaStudy(*common, axis(rates), axis(decays), self.seeds, given, trials=self.optuna)
        return FixedStudy(self.trials)

    def extent(self) -> str:
        """Returns what is tried at each width, in words."""
        rates, decays = self.learning_rates, self.weight_decays
        if self.optuna is not None:
            return (
                f"{self.optuna} pairs that Optuna chooses, learning rates {min(rates):g} to {max(rates):g} and weight "
                f"decays {min(decays):g} to {max(decays):g}, and what the verdict needs around the best, "
                f"{len(self.seeds)} seeds"
            )
        grid = f"{len(rates)} learning rates × {len(decays)} weight decays × {len(self.seeds)} seeds"
        if self.halving is None:
            return grid
        stops = [f"{one:,}" for one in rungs(self.given(self.target), self.halving)]
        at = f" at width {self.target}" if self.tokens_per_parameter is not None else ""
        return f"{grid}, all but the best 1/{self.halving} stopped at step {' and '.join(stops)}{at}"

    def as_json(self) -> dict[str, Any]:
        """Returns the declaration as JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def read_declaration(file: Path) -> dict[str, Any]:
    """Returns the fields that a file declares.

    Args:
      file: .toml: keys are the fields of `Sweep`, `hyperparameters` a table. .py: variables with those names; the
        file is run.

    Raises:
      FileNotFoundError: there is no such file.
      TheirError: it raises, or ends the program.
      ValueError: it cannot be read, or declares what is no field.
    """
    if file.suffix not in (".toml", ".py"):
        raise ValueError(f"{file}: expected a .toml or a .py file")
    if not file.is_file():
        raise FileNotFoundError(f"--config {file}: there is no such file")
    if file.suffix == ".py":
        names = {one.name for one in dataclasses.fields(Sweep)}
        try:
            ran = runpy.run_path(str(file))
        except (Exception, SystemExit) as error:
            raise TheirError(f"--config {file} failed: {located(error)}") from error
        found = {name: value for name, value in ran.items() if name in names}
    else:
        try:
            found = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file} is not TOML: {error}") from error
    return fields_of(found, str(file))


def fields_of(found: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Returns declared fields as `Sweep` takes them.

    Args:
      found: by name; axes are lists, single values, or text such as "2^-9:2^-3" for learning rates and decays;
        `seeds` may be their number.
      where: they come from, for messages.

    Raises:
      ValueError: a name is no field, or a value cannot be read.
    """
    known = [one.name for one in dataclasses.fields(Sweep)]
    if problem := unknown_names(found, known, "field"):
        raise ValueError(f"{where}: {problem}; what trials are given besides belongs into hyperparameters")
    fields: dict[str, Any] = {}
    for name, value in found.items():
        if name in ("learning_rates", "weight_decays") and isinstance(value, str):
            fields[name] = parse_values(f"{where}: {name}", value)
        elif name == "seeds" and isinstance(value, int):
            if isinstance(value, bool) or not 1 <= value <= _MOST_SEEDS:
                raise ValueError(
                    f"{where}: seeds: expected how many, from 1 to {_MOST_SEEDS:,}, or a list; got {value}"
                )
            fields[name] = tuple(range(value))
        elif name in AXES:
            fields[name] = (
                tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)
            )
        else:
            fields[name] = value
    if not isinstance(fields.get("hyperparameters", {}), Mapping):
        raise ValueError(f"{where}: hyperparameters must be a table of names and values")
    return fields


def read_sweep(directory: Path) -> Sweep | None:
    """Returns the sweep that a directory holds, or None.

    Raises:
      ValueError: its file is damaged.
    """
    file = directory / FILE_NAME
    try:
        return Sweep(**fields_of(_mapping(read_json(file)), str(file)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{file} is damaged ({error}); remove it and declare the sweep again: finished trials are kept"
        ) from error


def _mapping(found: Any) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise ValueError(f"expected an object, found {type(found).__name__}")
    return found


def write_sweep(directory: Path, sweep: Sweep) -> None:
    """Writes the sweep into its directory.

    Raises:
      OSError: it could not be written.
    """
    write_atomic(directory / FILE_NAME, json.dumps(sweep.as_json(), indent=1) + "\n")
