"""Does a step do the same at every width, for every optimizer that `mupwd.wrap` knows? A coordinate check of each.

    pip install 'mupwd[proxy]'
    python scripts/optimizers_coordinates.py --out runs/optimizers_coordinates
    python scripts/optimizers_coordinates.py --optimizers sgd lamb muon

A small network is trained for two steps at widths 64, 256 and 1024 (8 seeds), from muP's initial values: with the
optimizer wrapped, and, as a planted mistake, with the same one as optax has it. `mupwd.coordinate_check` says of each
parameter how its change goes with width; muP wants exponents of 0.

The settings are the same for all optimizers, and follow from the theory that is checked:

- The loss is linear in the outputs, so that its gradient there is the same at every width. Under a square error the
  model's own first outputs are a part of it, and these fall with width.
- The batch, of 4, is small against the least width. A step that is no linear function of the gradient (a sign, say)
  adds noise to the change, a part that falls with width; the smaller the batch, the smaller it is.
- Two steps, since some optimizers only look at the first gradient.
- All arguments but the learning rate are optax's own defaults, eps too. The rate is the one, of powers of 2, at which
  the features of the base move by about a 32nd of their size.

Prints a table, and writes it to the output folder. What is finished is kept there, and not run again.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from optimizers import INPUTS, OUTPUTS, build
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

import mupwd
from mupwd.files import write_atomically
from mupwd.optim.families import families

WIDTHS, SEEDS, STEPS, BATCH = (64, 256, 1024), 8, 2, 4
RATES = [2.0**octave for octave in range(-24, 11)]
MOVED = 1 / 32


def loss(outputs: jax.Array, directions: jax.Array) -> jax.Array:
    """A loss whose gradient at the outputs is the same whatever they are."""
    return jnp.mean(jnp.sum(outputs * directions, axis=-1))


def data() -> tuple[jax.Array, jax.Array]:
    """The one batch of all runs: inputs, and the gradients at the outputs."""
    inputs, directions = (
        jax.random.normal(jax.random.key(seed), (BATCH, size)) for seed, size in ((0, INPUTS), (1, OUTPUTS))
    )
    return inputs, directions


@functools.cache
def family() -> mupwd.Family:
    """The network of `optimizers.py`, with the least width as its base."""
    return mupwd.family(build, base=WIDTHS[0], inputs=(data()[0],))


@functools.cache
def start(width: int, seed: int) -> Any:
    """Initial values by muP, the same for all optimizers."""
    return family().init(width, seed)


def factory_of(name: str) -> Any:
    """The factory of that name, in optax or in `optax.contrib`."""
    return getattr(optax.contrib, name, None) or getattr(optax, name)


def features(params: Any, x: jax.Array) -> jax.Array:
    """What the readout is multiplied with: the outputs of a readout that changes nothing."""
    width = len(params["bias"])
    return build(width, 0)[0](params | {"readout": jnp.eye(width)}, x)


def rate_of(name: str) -> float:
    """Returns the learning rate at which the features of the base move by about `MOVED` of their size."""
    (x, directions), params = data(), start(WIDTHS[0], 0)
    apply = build(WIDTHS[0], 0)[0]

    def moved(rate: jax.Array) -> jax.Array:
        tx = factory_of(name)(learning_rate=rate)
        now, state = params, tx.init(params)
        for _ in range(STEPS):
            gradients = jax.grad(lambda p: loss(apply(p, x), directions))(now)
            updates, state = tx.update(gradients, state, now)
            now = optax.apply_updates(now, updates)
        before = features(params, x)
        return jnp.linalg.norm(features(now, x) - before) / jnp.linalg.norm(before)

    found = np.asarray(jax.jit(jax.vmap(moved))(jnp.asarray(RATES)), np.float64)
    off = np.abs(np.log(np.where(np.isfinite(found) & (found > 0), found, 1e-30) / MOVED))
    return RATES[int(np.argmin(off))]


def check(name: str, rate: float, wrapped: bool) -> mupwd.CoordinateCheck:
    """Returns the coordinate check of one optimizer, wrapped or as optax has it; both from muP's initial values."""

    def optimizer(plan: mupwd.Plan) -> optax.GradientTransformation:
        factory = factory_of(name)
        return (mupwd.wrap(factory, plan) if wrapped else factory)(learning_rate=rate)

    return mupwd.coordinate_check(
        family(),
        data(),
        loss,
        optimizer=optimizer,
        init=start,
        widths=WIDTHS,
        seeds=SEEDS,
        steps=STEPS,
        progress=False,
    )


def summary(found: mupwd.CoordinateCheck) -> dict[str, Any]:
    """Returns the verdict, and every line's exponent and interval, each less what theory predicts."""
    lines = []
    for line in found.lines:
        one: dict[str, Any] = {"path": line.name, "quantity": line.quantity, "verdict": line.verdict}
        if line.exponent is not None and line.interval is not None:
            expected = min(max(line.exponent, line.predicted[0]), line.predicted[1])
            one["off"] = line.exponent - expected
            one["interval"] = [end - expected for end in line.interval]
        lines.append(one | {"note": line.note})
    return {"verdict": found.verdict, "lines": lines}


def cells(found: dict[str, Any]) -> list[str]:
    """Returns the verdict of a check, and the line that is furthest from theory."""
    judged = [line for line in found["lines"] if "off" in line]
    notes = [
        f"{line['path']} {line['note']}" for line in found["lines"] if line["note"] and "off" not in line
    ]
    worst = max(judged, key=lambda line: (line["verdict"] == "fail", abs(line["off"])))
    low, high = worst["interval"]
    text = f"{worst['off']:+.2f} ({low:+.2f} to {high:+.2f}), {worst['path']}"
    text += " at the start" if worst["quantity"] != "change" else ""
    return [found["verdict"], "; ".join([text, *notes])]


HEADER = (
    "| optimizer | log2 of the rate | wrapped | furthest from theory | as optax has it | furthest from theory |\n"
    "|---|---|---|---|---|---|"
)


def row(name: str, done: dict[str, Any]) -> str:
    """Returns an optimizer's line of the table, in Markdown."""
    both = [*cells(done["wrapped"]), *cells(done["optax"])]
    return f"| {name} | {math.log2(done['learning_rate']):.0f} | " + " | ".join(both) + " |"


def main() -> None:
    """Runs what is not finished, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--out", type=Path, default=Path("runs/optimizers_coordinates"), help="folder of the results"
    )
    parser.add_argument(
        "--optimizers",
        nargs="+",
        default=list(families()),
        choices=list(families()),
        metavar="NAME",
        help="names of factories, such as sgd lion muon; by default all that mupwd.wrap knows",
    )
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    console, done = Console(), {}
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(flags.optimizers))
        for name in flags.optimizers:
            progress.update(task, description=name)
            file = flags.out / f"{name}.json"
            if not file.exists():
                rate = rate_of(name)
                both = {key: summary(check(name, rate, key == "wrapped")) for key in ("wrapped", "optax")}
                write_atomically(file, json.dumps({"learning_rate": rate} | both))
            done[name] = json.loads(file.read_text())
            progress.advance(task)
    table = "\n".join([HEADER, *(row(name, one) for name, one in done.items())])
    write_atomically(flags.out / "table.md", table + "\n")
    print(table)


if __name__ == "__main__":
    main()
