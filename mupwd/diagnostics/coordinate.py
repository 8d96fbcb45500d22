"""Coordinate check: does anything depend on the width at the start of training that should not?"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import product
from typing import Any

import optax

from mupwd.diagnostics.coordinate_result import CoordinateCheck, judged
from mupwd.diagnostics.coordinate_runs import Batches, prepared, stacked
from mupwd.family import Family
from mupwd.optim import adamw
from mupwd.plan import Form, Plan
from mupwd.recipes import Recipe
from mupwd.scalars import check_number

Optimizer = Callable[[Plan], optax.GradientTransformation]


def coordinate_check(
    family: Family,
    batches: Batches,
    loss: Callable[[Any, Any], Any],
    *,
    learning_rate: float | None = None,
    weight_decay: float = 0.0,
    recipe: str | Recipe = "mupwd",
    form: Form = "folded",
    widths: Sequence[int] = (64, 128, 256),
    seeds: int = 4,
    steps: int = 4,
    plan: Callable[[int], Plan] | None = None,
    optimizer: Optimizer | None = None,
    init: Callable[[int, int], Any] | None = None,
    level: float = 0.95,
    progress: bool | None = None,
) -> CoordinateCheck:
    r"""Trains a few steps at several widths and says which parameters do not scale with width as they should.

    For each use of each parameter two numbers are measured: at the start the gain
    $\mathrm{rms}(W_0 x) / \mathrm{rms}(x)$, and after the last step the change
    $\mathrm{rms}((W_t - W_0) x_t) / \mathrm{rms}(x_t)$, forward factors included. Both belong to the parameter
    alone: what others do to the size of x divides out. Their exponents of width, least squares over all runs,
    are held against theory's, the same for every recipe: 0, and -1/2 for the initial gain of readouts and
    narrow kernels. Mistakes are multiples of 1/2. So a quantity passes whose interval lies within the prediction
    ± 1/4, fails where it lies wholly outside, and is undecided else.

    Args:
      family: from `mupwd.family`.
      batches: a pair `(inputs, targets)` that every step trains on, or a function `batches(seed, step)` that
        returns one, of the same shapes at every step. Several inputs are a tuple; those that are no arrays are passed
        on as they are, as flags. One fixed batch gives the clearest exponents.
      loss: `loss(outputs, targets)`, a scalar.
      learning_rate: the base's; small, so that activations move a little only. Needed without `optimizer`.
      weight_decay: the base's, coupled (per unit of learning rate). In a few steps it does next to nothing: a wrong
        decay rule does not show here.
      recipe: what to check; as for `Family.plan`.
      form: as for `Family.plan`; the factors of the forward form are applied to the model.
      widths: three or more.
      seeds: of the initial values, and of `batches(seed, step)`: 0, 1, …
      steps: of each run.
      plan: your own `plan(width)` in the place of the recipe's.
      optimizer: your own `optimizer(plan)`; by default `mupwd.adamw(learning_rate, plan, weight_decay=…)`.
      init: your own `init(width, seed)`, which returns a model or its parameters; by default `family.init`.
      level: of the intervals.
      progress: a progress bar on stderr; by default where stderr is a terminal.

    Returns:
      The check: print it; `.verdict`, `.failed` (paths), `.lines`, `["path"]`, `.plot(file)`.

    Raises:
      ValueError: fewer than three widths, no seed or step, a level outside 0..1, no learning rate, a batch that is
        no pair or has other shapes than the first, a family without its source, or parameters of `init` that do not
        fit the family's model.
      TypeError: seeds or steps are no integers, or the learning rate is no number.
      TraceError: as `Family.init` and `mupwd.instrument`.
      PlanError: as `Family.plan`.

    Example:
      >>> import jax, jax.numpy as jnp, mupwd
      >>> def build(width, seed):
      ...     fn = lambda p, x: jax.nn.relu(jax.nn.relu(x @ p["in"]) @ p["hidden"]) @ p["out"]
      ...     shapes = {"in": (3, width), "hidden": (width, width), "out": (width, 20)}
      ...     keys = jax.random.split(jax.random.key(seed), 3)
      ...     draw = lambda key, shape: jax.random.normal(key, shape) * shape[0] ** -0.5
      ...     return fn, {name: draw(key, shapes[name]) for key, name in zip(keys, shapes)}
      >>> x = jax.random.normal(jax.random.key(0), (32, 3))
      >>> family = mupwd.family(build, base=16, inputs=(x,))
      >>> targets = jax.random.normal(jax.random.key(1), (32, 20))
      >>> loss = lambda outputs, targets: jnp.mean((outputs - targets) ** 2)
      >>> settings = dict(learning_rate=1e-3, widths=(32, 64, 128), steps=2)
      >>> mupwd.coordinate_check(family, (x, targets), loss, **settings).verdict
      'pass'
      >>> mupwd.coordinate_check(family, (x, targets), loss, recipe="sp", **settings).failed
      ['hidden', 'out']

    Source: the coordinate check of Tensor Programs V, arXiv 2203.03466, appendix D.1; splitting it by parameter
    into initial gains and changes, and the intervals, are ours. Predictions: docs/coordinate.md.
    """
    widths = _checked(family, widths, seeds, steps, level)
    optimizer = _optimizer(learning_rate, weight_decay, optimizer)
    plan = plan or (lambda width: family.plan(width, recipe=recipe, form=form))
    plans = {width: plan(width) for width in widths}
    data = [stacked(batches, seed, steps) for seed in range(seeds)]
    runs, uses = {}, {}
    bar = _bar(list(product(widths, range(seeds))), progress)
    for width, planned in plans.items():
        program = prepared(family, width, planned, loss, optimizer(planned))
        uses[width] = program.uses(data[0])
        runs[width] = []
        for seed in range(seeds):
            next(bar)
            start = init(width, seed) if init else family.init(width, seed, plan=planned)
            runs[width].append(program.measure(start, data[seed]))
    next(bar)
    return judged(runs, plans, uses, level)


def _checked(family: Family, widths: Sequence[int], seeds: int, steps: int, level: float) -> list[int]:
    if family.source is None:
        raise ValueError(
            "coordinate_check: this family was loaded or made from shapes, and does not know how to build its "
            "models; make it with mupwd.family(build, ...)"
        )
    if len(set(widths)) < 3:
        raise ValueError(
            f"widths={tuple(widths)}: a coordinate check needs three different widths or more, such as "
            "(64, 128, 256)"
        )
    for name, value in (("seeds", seeds), ("steps", steps)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name}={reprlib.repr(value)}: expected how many there are to be, an integer")
        if value < 1:
            raise ValueError(f"{name}={value}: expected 1 or more")
    if not 0 < level < 1:
        raise ValueError(f"level={level}: expected a number between 0 and 1, such as 0.95")
    return sorted(set(widths))


def _optimizer(learning_rate: float | None, weight_decay: float, given: Optimizer | None) -> Optimizer:
    if given is not None:
        if learning_rate is not None or weight_decay:
            raise ValueError(
                "optimizer= is given together with learning_rate= or weight_decay=: it has its own; leave them out"
            )
        return given
    if learning_rate is None:
        raise ValueError(
            "learning_rate=None: expected the base's learning rate, above 0 (or optimizer=, a function of the plan)"
        )
    check_number("learning_rate", learning_rate, zero=False)
    rate = learning_rate
    return lambda plan: adamw(rate, plan, weight_decay=weight_decay)


def _bar(jobs: list[tuple[int, int]], shown: bool | None) -> Iterator[None]:
    """A line on stderr that says which run is next."""
    shown = sys.stderr.isatty() if shown is None else shown
    for number, (width, seed) in enumerate(jobs):
        if shown:
            done = "#" * round(30 * number / len(jobs))
            text = f"\r{done:.<30} {number}/{len(jobs)} runs, now width {width}, seed {seed} "
            print(text, end="", file=sys.stderr, flush=True)
        yield
    if shown:
        print(f"\r{'':79}\r", end="", file=sys.stderr, flush=True)
    yield
