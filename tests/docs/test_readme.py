"""The first program of README.md does what its comments say."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

README = Path(__file__).parents[2] / "README.md"


def test_the_first_program_trains():
    """Its names are what scripts/release/checks.py goes on with."""

    def build(width, seed=0):
        def forward(params, x):
            return jnp.tanh(jnp.tanh(x @ params["first"]) @ params["hidden"]) @ params["readout"]

        shapes = {"first": (8, width), "hidden": (width, width), "readout": (width, 1)}
        keys = jax.random.split(jax.random.key(seed), len(shapes))
        scaled = {
            n: s[0] ** -0.5 * jax.random.normal(k, s) for k, (n, s) in zip(keys, shapes.items(), strict=True)
        }
        return forward, scaled

    x = jnp.asarray(np.random.default_rng(0).normal(size=(32, 8)), jnp.float32)
    forward, _ = build(8)

    def loss_of(params, batch):
        return jnp.mean((forward(params, batch) - batch[:, :1]) ** 2)

    lines = README.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    # As it stands, but narrower.
    known = {"build": build, "tokens": x, "loss_of": loss_of}
    exec(lines.replace("base=256", "base=32").replace("4096", "128"), known)
    params, state, losses = known["params"], known["state"], []
    for _ in range(4):
        params, state, loss = known["train_step"](params, state, x)
        losses.append(float(loss))
    assert known["plan"]["hidden"].lr == 0.25
    assert losses[-1] < losses[0]
