"""Does the best learning rate hold across widths, for every optimizer that `mupwd.wrap` knows?

    pip install 'mupwd[proxy]'
    python scripts/optimizers.py --out runs/optimizers
    python scripts/optimizers.py --optimizers sgd lion muon

Small networks learn the outputs of a fixed random network at three widths. Each optimizer is swept over learning rates
at the base, and then at the wider ones under two rules: as optax has it on the model's own initial values (`sp`), and
wrapped (`mupwd`). For some the hidden kernels' norms are then taken in the steady state under decay. Prints a table,
and writes it with a picture to the output folder. What is finished is kept there, and not run again.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

import mupwd
from mupwd.files import write_atomically
from mupwd.optim.families import families
from mupwd.transfer.curve import learning_rate_curve
from mupwd.transfer.drift import drift
from mupwd.transfer.observations import Observation, losses_by_pair

INPUTS, OUTPUTS, BATCH, STEPS = 16, 10, 32, 100
WIDTHS = (32, 64, 128)
RULES = ("sp", "mupwd")
COARSE = [2.0 ** (-18 + 1.5 * i) for i in range(20)]
STEADY, TIMESCALE = ("adamw", "lion", "muon"), 50
FINE, SEEDS = range(-6, 4), (0, 1)  # octaves about the best of the coarse ones


def build(width: int, seed: int) -> tuple[Callable[..., Any], dict[str, Any]]:
    """A network of two hidden matrices, without normalisation: a learning rate can be too large for it."""

    def apply(params: Any, x: jax.Array) -> jax.Array:
        x = jax.nn.relu(x @ params["embed"] + params["bias"])
        for kernel in params["hidden"]:
            x = jax.nn.relu(x @ kernel)
        return x @ params["readout"]

    keys = jax.random.split(jax.random.key(seed), 4)
    shapes = [(INPUTS, width), (width, width), (width, width), (width, OUTPUTS)]
    kernels = [
        jax.random.normal(key, shape) * (2 / shape[0]) ** 0.5 for key, shape in zip(keys, shapes, strict=True)
    ]
    return apply, {
        "embed": kernels[0],
        "bias": jnp.zeros(width),
        "hidden": kernels[1:3],
        "readout": kernels[3],
    }


def teacher(x: jax.Array) -> jax.Array:
    """What is to be learned: a random network with outputs of size 1."""
    first, second = (
        jax.random.normal(jax.random.key(100 + i), s) for i, s in enumerate(((INPUTS, 64), (64, OUTPUTS)))
    )
    return jnp.tanh(2 * x @ first / INPUTS**0.5) @ second / 64**0.5 * 1.2


def loss(outputs: jax.Array, targets: jax.Array) -> jax.Array:
    """Mean square error."""
    return jnp.mean((outputs - targets) ** 2)


def held_out_loss(params: Any) -> jax.Array:
    """The loss on data that no run was trained on."""
    x = jax.random.normal(jax.random.key(7), (1024, INPUTS))
    return loss(build(WIDTHS[0], 0)[0](params, x), teacher(x))


def hidden_norms(params: Any) -> jax.Array:
    """The spectral norms of the hidden kernels, which are square: their RMS-to-RMS norms."""
    return jnp.stack([jnp.linalg.norm(kernel, ord=2) for kernel in params["hidden"]])


def trained(
    family: mupwd.Family,
    width: int,
    recipe: str,
    factory: Any,
    runs: list[tuple[float, int]],
    steps: int = STEPS,
    measure: Callable[[Any], jax.Array] = held_out_loss,
    **arguments: Any,
) -> np.ndarray:
    """Returns what is measured after training, for pairs of learning rate and seed: one program for all."""
    plan = family.plan(width, recipe=recipe)
    apply = build(WIDTHS[0], 0)[0]

    def run(rate: jax.Array, seed: jax.Array, params: Any) -> jax.Array:
        tx = mupwd.wrap(factory, plan)(learning_rate=rate, **arguments)

        def step(carry: Any, index: jax.Array) -> Any:
            params, state = carry
            x = jax.random.normal(jax.random.fold_in(jax.random.key(seed), index), (BATCH, INPUTS))
            gradients = jax.grad(lambda p: loss(apply(p, x), teacher(x)))(params)
            updates, state = tx.update(gradients, state, params)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), jnp.arange(steps))
        return measure(params)

    starts = {seed: family.init(width, seed, plan=plan) for seed in {seed for _, seed in runs}}
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(starts[seed] for _, seed in runs))
    found = jax.jit(jax.vmap(run))(
        jnp.asarray([rate for rate, _ in runs]), jnp.asarray([seed for _, seed in runs]), stacked
    )
    return np.nan_to_num(np.asarray(found, np.float64), nan=math.inf)


def steady(family: mupwd.Family, factory: Any, best: float) -> dict[int, list[float]]:
    """Returns the hidden kernels' norms per width after six timescales of decay, from a rate that trains well."""
    rate, runs = best / 2, [(best / 2, seed) for seed in range(4)]
    decay = {"weight_decay": 1 / (TIMESCALE * rate)}
    found = {}
    for width in WIDTHS:
        norms = trained(
            family, width, "mupwd", factory, runs, steps=6 * TIMESCALE, measure=hidden_norms, **decay
        )
        found[width] = np.exp(np.log(norms).mean(axis=0)).tolist()
    return found


def sweep(family: mupwd.Family, factory: Any) -> list[dict[str, Any]]:
    """Returns the losses of one optimizer at all widths under both rules."""
    coarse = trained(family, WIDTHS[0], "mupwd", factory, [(rate, 0) for rate in COARSE])
    center = round(math.log2(COARSE[int(np.argmin(coarse))]))
    rates = [(2.0 ** (center + octave), seed) for octave in FINE for seed in SEEDS]
    found = []
    for width in WIDTHS:
        # At the base both rules are the same.
        for rule in RULES if width > WIDTHS[0] else RULES[:1]:
            losses = trained(family, width, rule, factory, rates)
            rows = zip(rates, losses, strict=True)
            found += [
                {"rule": one, "width": width, "learning_rate": rate, "seed": seed, "loss": float(value)}
                for (rate, seed), value in rows
                for one in (RULES if width == WIDTHS[0] else (rule,))
            ]
    return found


def optima(results: list[dict[str, Any]], rule: str) -> dict[str, Any]:
    """Returns the best learning rate per width, in octaves, its drift, and the losses at the widest."""
    curves = {}
    for width in WIDTHS:
        some = [
            Observation(rule, width, one["learning_rate"], 0.0, one["seed"], one["loss"])
            for one in results
            if one["rule"] == rule and one["width"] == width
        ]
        curves[width] = learning_rate_curve(losses_by_pair(some), 0.0)
    fitted = {width: curve.optimum for width, curve in curves.items()}
    moved = drift(fitted)
    target, tuned = curves[WIDTHS[-1]], curves[WIDTHS[0]].best
    return {
        "log2": {width: one.log2 for width, one in fitted.items()},
        "edge": any(one.edge for one in fitted.values()),
        "drift": moved.slope,
        "interval": moved.interval,
        "transferred": target.means[tuned],
        "best": target.means[target.best],
    }


def row(name: str, done: dict[str, Any]) -> str:
    """Returns an optimizer's line of the table, in Markdown."""
    cells = [name]
    for rule in RULES:
        one = optima(done["sweep"], rule)
        cells.append(
            " ".join(f"{log2:.1f}" for log2 in one["log2"].values()) + (" (edge)" if one["edge"] else "")
        )
        cells.append("" if math.isnan(one["drift"]) else f"{one['drift']:+.2f}")
        cells.append(f"{one['transferred']:.3f} / {one['best']:.3f}".replace("inf", "diverges"))
    norms = done.get("steady", {}).values()
    cells.append(", ".join("/".join(f"{norm:.2f}" for norm in one) for one in norms))
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| optimizer | sp: log2 of the best rate | drift | loss | mupwd: log2 of the best rate | drift | loss | "
    "norms in the steady state |\n|---|---|---|---|---|---|---|---|"
)


def picture(file: Path, done: dict[str, dict[str, Any]]) -> None:
    """Draws the drift of each optimizer's best learning rate under both rules."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 1.5 + 0.22 * len(done)), layout="constrained", dpi=150)
    axes = figure.subplots()
    for rule, marker, color in zip(RULES, "so", ("#D55E00", "#0072B2"), strict=True):
        drifts = [optima(one["sweep"], rule)["drift"] for one in done.values()]
        label = "optax, model's own initial values" if rule == "sp" else "mupwd.wrap"
        axes.plot(drifts, range(len(done)), marker, color=color, label=label)
    axes.axvline(0, color="0.8", zorder=0)
    axes.set_yticks(range(len(done)), list(done))
    axes.set_xlabel("best learning rate, octaves per doubling of width")
    axes.invert_yaxis()
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(file)


def main() -> None:
    """Runs what is not finished, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, default=Path("runs/optimizers"))
    parser.add_argument(
        "--optimizers", nargs="+", default=list(families()), choices=list(families()), metavar="NAME"
    )
    flags = parser.parse_args()
    flags.out.mkdir(parents=True, exist_ok=True)
    family = mupwd.family(build, base=WIDTHS[0], inputs=(jnp.ones((BATCH, INPUTS)),))
    console, done = Console(), {}
    parts = ["sweep", "steady"]
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(parts) * len(flags.optimizers))
        for part in parts:
            for name in flags.optimizers:
                progress.update(task, description=f"{part} {name}")
                file = flags.out / f"{name}.json"
                done[name] = json.loads(file.read_text()) if file.exists() else {}
                if part not in done[name] and (part != "steady" or name in STEADY):
                    factory = getattr(optax.contrib, name, None) or getattr(optax, name)
                    if part == "sweep":
                        done[name][part] = sweep(family, factory)
                    else:
                        best = 2.0 ** optima(done[name]["sweep"], "mupwd")["log2"][WIDTHS[0]]
                        done[name][part] = steady(family, factory, best)
                    write_atomically(file, json.dumps(done[name]))
                progress.advance(task)
    table = "\n".join([HEADER, *(row(name, one) for name, one in done.items())])
    write_atomically(flags.out / "table.md", table + "\n")
    picture(flags.out / "drift.png", done)
    print(table)


if __name__ == "__main__":
    main()
