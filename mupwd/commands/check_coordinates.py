"""`mupwd check`: the coordinate check, of the proxy or of a model that flags name."""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import Any

from mupwd.commands.check import given, out_of, widths_of
from mupwd.commands.models import family_of
from mupwd.diagnostics.coordinate import coordinate_check
from mupwd.family import Family
from mupwd.named import named
from mupwd.report.write import write_json

_LEARNING_RATE = 2**-10


def run_coordinates(args: argparse.Namespace) -> str:
    """Runs the check, prints, writes, and returns the verdict."""
    start = time.monotonic()
    base = args.base or 32
    family, batches, loss = _own(args) if args.model else _proxy(args, base)
    widths = widths_of(args, (base, 2 * base, 4 * base) if args.model else (64, 128, 256))
    settings = {
        "learning_rate": _LEARNING_RATE if args.learning_rate is None else args.learning_rate,
        "weight_decay": args.weight_decay or 0.0,
        "recipe": args.recipe,
        "form": args.form or "folded",
        "widths": widths,
        "seeds": args.seeds or 4,
        "steps": args.steps or 4,
    }
    print(
        f"coordinates of {args.model or 'the proxy'} under recipe {args.recipe} at widths "
        f"{', '.join(map(str, widths))}: {settings['seeds']} seeds, {settings['steps']} steps",
        flush=True,
    )
    found = coordinate_check(family, batches, loss, **settings)
    out = out_of(args)
    out.mkdir(parents=True, exist_ok=True)
    files = [out / f"coordinates.{kind}" for kind in ("json", "png")]
    lines = [dataclasses.asdict(line) for line in found.lines]
    setting = {"model": args.model or "proxy", "base": base, **settings}
    write_json(
        files[0], {"setting": setting, "verdict": found.verdict, "failed": found.failed, "lines": lines}
    )
    found.plot(files[1])
    print(f"\n{found}")  # last: its reader may be gone
    minutes = (time.monotonic() - start) / 60
    print(f"\nthis took {minutes:.1f} minutes. Written: {', '.join(map(str, files))}")
    return found.verdict


def _proxy(args: argparse.Namespace, base: int) -> tuple[Family, Any, Any]:
    from mupwd.proxy import ProxyConfig, corpus
    from mupwd.proxy import family as proxy_family
    from mupwd.proxy.model import next_token_loss

    text = corpus(args.corpus or "stdlib")
    config = ProxyConfig(
        vocab_size=text.vocab_size, **{"layers": 2, **given(args, "layers", "head_dim", "dtype")}
    )
    size = {"batch_size": 8, "sequence_length": 32, **given(args, "batch_size", "sequence_length")}
    # One batch that every step trains on gives the clearest exponents.
    batch = text.batch(0, 0, **size)
    return proxy_family(config, base), (batch[:, :-1], batch[:, 1:]), next_token_loss


def _own(args: argparse.Namespace) -> tuple[Family, Any, Any]:
    loss = named(args.loss, "--loss")
    if not callable(loss):
        raise ValueError(
            f"--loss {args.loss} is {type(loss).__name__}; expected a function loss(outputs, targets)"
        )
    return family_of(args.model, args.inputs, args.base), named(args.batch, "--batch"), loss
