"""The proxy in its steady state under several decay rules, in one program per width."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from mupwd.paths import named_leaves
from mupwd.proxy import Hyper, ProxyConfig, TrainConfig, Trainer, family
from mupwd.recipes import Recipe, get
from mupwd.recipes.exponents import Powers

LEARNING_RATE, WEIGHT_DECAY = 2**-7, 4.0
# Three decay timescales of the slowest: post-scaled, at four times the width.
STEPS, EVERY = 780, 20
PROXY = ProxyConfig(layers=1, head_dim=8)
# Powers of the width ratio in the decay, under the names that people know them by.
RULES = {"sqrt": 0.5, "constant": 0.0, "post-scaled": -0.5}


def recipe(rule: str) -> Recipe:
    """The mupwd recipe with another decay."""
    mupwd = get("mupwd")
    return replace(mupwd, name=rule, matrix=replace(mupwd.matrix, wd=Powers(m_in=RULES[rule])))


def proxies() -> object:
    """The family of what is trained."""
    return family(PROXY, base=16)


@functools.cache
def steady(corpus, width: int, seeds: tuple[int, ...]) -> dict[tuple[str, int], dict[str, float]]:
    """Trains under every rule with every seed; returns `{(rule, seed): metrics}`.

    Only matrices decay, so that a rule is the decay that the sqrt rule's program is given: one compilation and,
    by vmap, one program for all. Singular values are LAPACK's.
    """
    steps = TrainConfig(
        steps=STEPS, warmup=10, batch_size=8, sequence_length=16, schedule="wsd", decay_fraction=0.0,
        final_fraction=1.0, log_every=EVERY, eval_batches=1,
    )  # fmt: skip
    plan = family(PROXY, base=16).plan(width)
    trainer = Trainer(width, plan=plan, proxy=PROXY, train=steps, corpus=corpus, progress=False)
    points = [(rule, seed) for rule in RULES for seed in seeds]
    decays = [WEIGHT_DECAY * (width / 16) ** (RULES[rule] - 0.5) for rule, _ in points]
    hypers = Hyper(
        jnp.full(len(points), LEARNING_RATE),
        jnp.array(decays),
        jnp.array([seed for _, seed in points], jnp.uint32),
    )
    state = jax.jit(jax.vmap(trainer.program.init))(hypers)
    segment = jax.jit(jax.vmap(trainer.program.segment, in_axes=(0, 0, None, None)), donate_argnums=0)
    sigma: dict[str, list[np.ndarray]] = {}
    for step in range(EVERY, STEPS + 1, EVERY):
        state, _ = segment(state, hypers, trainer.tokens, np.int32(EVERY))
        if 4 * step > 3 * STEPS:
            for path, leaf in named_leaves(state.params).items():
                if plan[path].role == "matrix":
                    values = np.linalg.svd(np.asarray(leaf), compute_uv=False)[:, 0]
                    sigma.setdefault(path, []).append(values)
    elapsed = LEARNING_RATE * WEIGHT_DECAY * (STEPS - 5)
    return {
        point: {
            "step": STEPS,
            "train/decay_elapsed": elapsed,
            **{
                f"spectral/{path}/sigma_1_last_quarter": float(np.mean(v, axis=0)[i])
                for path, v in sigma.items()
            },
        }
        for i, point in enumerate(points)
    }
