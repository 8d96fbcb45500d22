"""What following the spectra costs a train step of the proxy.

The tracker runs inside the jitted, donated step, as in a user's loop: parameters, optimizer and tracker are one
state. A turn is ten steps, one of which observes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from spectral_matrices import K, standard_library
from turns import ratio, take_turns

import mupwd
from mupwd.proxy import Hyper, Program, ProxyConfig, TrainConfig, family
from mupwd.proxy.corpus_sampling import sample_device

LAYERS, HEAD_DIM, MLP_RATIO = 4, 32, 8 / 3  # as in benchmarks/proxy.py
BATCH, LENGTH = 16, 128
BASE, LEARNING_RATE, WEIGHT_DECAY = 64, 2**-8, 0.1
EVERY = 10
PLAIN, TRACKED = "without", f"track_spectrum, every {EVERY}"


def overhead(width: int, options: argparse.Namespace) -> dict[str, Any]:
    """Times the step with and without the tracker.

    Returns:
      per contestant: seconds of each turn of `EVERY` steps, their ratio to those without, compile seconds, and
      the mean passes of the last observation.
    """
    config = ProxyConfig(layers=LAYERS, head_dim=HEAD_DIM, mlp_ratio=MLP_RATIO)
    plan = family(config, base=BASE).plan(width)
    program = Program(width, config, TrainConfig(), plan)
    tokens = jnp.asarray(standard_library())
    adamw = mupwd.adamw(LEARNING_RATE, plan, weight_decay=WEIGHT_DECAY)
    transforms = {
        PLAIN: adamw,
        "without, again": adamw,
        TRACKED: optax.chain(adamw, mupwd.track_spectrum(plan, K, EVERY, options.tol)),
        # All of its code, and no observation after the first.
        "track_spectrum, never": optax.chain(
            adamw, mupwd.track_spectrum(plan, K, 10**6, options.tol, audit_every=10**6)
        ),
    }
    params = jax.jit(lambda: program.init(Hyper.of(LEARNING_RATE, WEIGHT_DECAY, options.seed)).params)()
    calls, facts, states = {}, {}, {}
    for name, tx in transforms.items():
        state = (jnp.int32(0), jax.tree.map(jnp.copy, params), tx.init(params))
        start = time.perf_counter()
        compiled = jax.jit(_turn(program, tx), donate_argnums=0).lower(state, tokens).compile()
        facts[name] = {"compile_seconds": time.perf_counter() - start}
        states[name] = compiled(state, tokens)

        def call(name: str = name, compiled: Any = compiled) -> Any:
            states[name] = compiled(states[name], tokens)
            return states[name]

        calls[name] = call
    seconds = take_turns(calls, options.steps, options.seed, warmup=2)
    for name, (_, _, state) in states.items():
        if name == TRACKED:
            facts[name]["passes"] = float(
                np.mean([found.passes for found in state[-1].observations.values()])
            )
    return {
        name: {"seconds": times, "ratio": ratio(times, seconds[PLAIN], options.seed), **facts[name]}
        for name, times in seconds.items()
    }


def overhead_table(results: Mapping[str, Any]) -> str:
    """The results as aligned text."""
    lines = [f"  {'':30}{'ms per step':>12}{'ratio':>8}{'95% interval':>18}{'compile s':>11}{'passes':>8}"]
    for name, result in results.items():
        value, low, high = result["ratio"]
        passes = f"{result['passes']:.1f}" if "passes" in result else "-"
        lines.append(
            f"  {name:30}{1e3 * np.median(result['seconds']) / EVERY:12.2f}{value:8.3f}"
            f"{f'{low:.3f} to {high:.3f}':>18}{result['compile_seconds']:11.0f}{passes:>8}"
        )
    return "\n".join(lines)


def _turn(program: Program, tx: optax.GradientTransformationExtraArgs) -> Any:
    """(steps done, params, optimizer state), tokens -> the same, `EVERY` steps later."""

    def step(_: Any, state: Any, tokens: jax.Array) -> Any:
        count, params, inner = state
        batch = sample_device(tokens, 0, count, BATCH, LENGTH)
        grads = jax.grad(program.loss)(params, batch)
        updates, inner = tx.update(grads, inner, params)
        return count + 1, optax.apply_updates(params, updates), inner

    return lambda state, tokens: jax.lax.fori_loop(0, EVERY, lambda i, s: step(i, s, tokens), state)
