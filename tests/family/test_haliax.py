"""Models of haliax, whose arrays carry the names of their axes."""

import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import mupwd

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what haliax imports from JAX
    import haliax as hax
    import haliax.nn as hnn

# And of what it calls.
pytestmark = pytest.mark.filterwarnings("ignore:jax.*is deprecated:DeprecationWarning")
BASE, TOKENS = 16, 20


class HaliaxBlock(eqx.Module):
    up: hnn.Linear
    down: hnn.Linear

    @staticmethod
    def init(Embed, Mlp, *, key):
        up, down = jax.random.split(key)
        return HaliaxBlock(hnn.Linear.init(Embed, Mlp, key=up), hnn.Linear.init(Mlp, Embed, key=down))

    def __call__(self, x):
        return x + self.down(hnn.relu(self.up(x)))


class Haliax(eqx.Module):
    embed: hnn.Embedding
    blocks: hnn.Stacked
    head: hnn.Linear

    def __call__(self, tokens):
        return self.head(self.blocks.fold(self.embed(tokens)))


VOCABULARY = hax.Axis("vocabulary", TOKENS)
NAMED = (hax.named(jnp.zeros((2, 8), int), (hax.Axis("batch", 2), hax.Axis("position", 8))),)


def haliax(width, seed):
    embed, blocks, head = jax.random.split(jax.random.key(seed), 3)
    Embed, Mlp, Layers = hax.Axis("embed", width), hax.Axis("mlp", 4 * width), hax.Axis("layers", 2)
    return Haliax(
        hnn.Embedding.init(VOCABULARY, Embed, key=embed),
        hnn.Stacked.init(Layers, HaliaxBlock)(Embed, Mlp, key=jax.random.split(blocks, 2)),
        hnn.Linear.init(Embed, VOCABULARY, key=head),
    )


def test_haliax_with_its_axes():
    family = mupwd.family(
        haliax,
        base=BASE,
        inputs=NAMED,
        axis_names={"layers": "stack fixed", "embed": "grows", "vocabulary": "fixed"},
    )
    assert {path: (p.role, p.axes) for path, p in family.parameters.items()} == {
        "blocks/stacked/down/bias/0": ("vector", ("stack", "elementwise")),
        "blocks/stacked/down/weight/0": ("matrix", ("stack", "out", "in")),
        "blocks/stacked/up/bias/0": ("vector", ("stack", "elementwise")),
        "blocks/stacked/up/weight/0": ("matrix", ("stack", "out", "in")),
        "embed/weight/0": ("input", ("lookup", "out")),
        "head/bias/0": ("scalar", ("elementwise",)),
        "head/weight/0": ("output", ("out", "in")),
    }
    made = family.init(2 * BASE, seed=1)
    assert made.embed.weight.axes[1] == hax.Axis("embed", 2 * BASE)
    assert family.plan(made) == family.plan(2 * BASE)


def test_a_name_of_haliax_that_contradicts():
    with pytest.raises(mupwd.TraceError, match=r"named 'vocabulary' \(haliax.*\), 'grows' in axis_names"):
        mupwd.family(haliax, base=BASE, inputs=NAMED, axis_names={"vocabulary": "grows"})


def test_a_layer_that_is_used_the_other_way_around():
    class Reversed(eqx.Module):
        embed: hnn.Embedding
        head: hnn.Linear

        def __call__(self, tokens):
            return self.embed(tokens).dot(self.head.weight, axis=self.head.Out)

    def build(width, seed):
        Embed, keys = hax.Axis("embed", width), jax.random.split(jax.random.key(seed))
        embed = hnn.Embedding.init(VOCABULARY, Embed, key=keys[0])
        return Reversed(embed, hnn.Linear.init(VOCABULARY, Embed, use_bias=False, key=keys[1]))

    words = r"head/weight/0: haliax's Linear says out in, but the program does in out \(dot_general"
    with pytest.raises(mupwd.TraceError, match=words):
        mupwd.family(build, base=BASE, inputs=NAMED)
    settled = mupwd.family(build, base=BASE, inputs=NAMED, overrides={"head/.*": "output: in out"})
    assert settled.parameters["head/weight/0"].role == "output"
