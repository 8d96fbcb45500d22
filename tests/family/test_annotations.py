"""Metadata of frameworks: read where it is, and held against the program."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import mupwd

BASE, TOKENS = 16, 20
INPUTS = (jnp.zeros((2, 8), int),)


# linen's and nnx's logical axes


class Logical(nn.Module):
    """Two scanned blocks whose parameters have names of axes, as in MaxText."""

    width: int
    names: tuple[str, ...] = ("embed", "mlp")

    @nn.compact
    def __call__(self, tokens):
        normal = nn.initializers.lecun_normal()
        embedding = nn.with_logical_partitioning(normal, ("vocab", "embed"))
        x = nn.Embed(TOKENS, self.width, embedding_init=embedding, name="embed")(tokens)
        blocks = nn.scan(
            LogicalBlock,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=2,
            metadata_params={nn.PARTITION_NAME: "layers"},
        )
        x, _ = blocks(self.width, self.names, name="blocks")(x, None)
        readout = nn.with_logical_partitioning(normal, ("embed", "vocab"))
        return nn.Dense(TOKENS, use_bias=False, kernel_init=readout, name="readout")(x)


class LogicalBlock(nn.Module):
    width: int
    names: tuple[str, ...]

    @nn.compact
    def __call__(self, x, _):
        up = nn.with_logical_partitioning(nn.initializers.lecun_normal(), self.names)
        down = nn.with_logical_partitioning(nn.initializers.lecun_normal(), self.names[::-1])
        y = nn.relu(nn.Dense(4 * self.width, use_bias=False, kernel_init=up, name="up")(x))
        return x + nn.Dense(self.width, use_bias=False, kernel_init=down, name="down")(y), None


RIGHT = {"layers": "stack fixed", "embed": "grows", "mlp": "grows", "vocab": "fixed"}


def logical(**meanings):
    return mupwd.family(Logical, base=BASE, inputs=INPUTS, axis_names=meanings)


def test_logical_axes_of_linen_that_agree():
    family = logical(**RIGHT)
    assert family == mupwd.family(Logical, base=BASE, inputs=INPUTS)
    assert family.parameters["blocks/up/kernel"].axes == ("stack", "in", "out")


def test_an_axis_that_is_said_to_be_fixed_and_grows():
    with pytest.raises(mupwd.TraceError) as error:
        logical(embed="fixed")
    said = str(error.value)
    assert "named 'embed' (linen's names of its axes), 'fixed' in axis_names" in said
    assert "16 elements at the one width and 32 at the other" in said
    assert "overrides={" in said


def test_an_axis_that_does_something_else_than_is_said():
    with pytest.raises(
        mupwd.TraceError, match=r"kernel: axis 0 is named 'layers'.*it is 'stack' in the program"
    ):
        logical(layers="in")


@pytest.mark.parametrize(
    ("meanings", "words"),
    [
        (
            {"emded": "grows"},
            r"axis_names\['emded'\]: no axis has that name; the model has embed, layers, mlp",
        ),
        ({"embed": "grow"}, r"'grow' is not one of .*did you mean 'grows'"),
        ({"embed": ""}, r"expected what the axis does"),
        ({"embed": None}, r"expected what the axis does"),
    ],
)
def test_meanings_that_cannot_be_read(meanings, words):
    with pytest.raises(mupwd.TraceError, match=words):
        logical(**meanings)


def test_names_for_a_model_without_any():
    def build(width):
        return (lambda params, x: x @ params["up"]), {"up": jnp.ones((3, width))}

    with pytest.raises(mupwd.TraceError, match="no parameter of the model has named axes"):
        mupwd.family(build, base=BASE, inputs=(jnp.ones((2, 3)),), axis_names={"embed": "grows"})
    with pytest.raises(mupwd.TraceError, match="axis_names is list; expected a mapping"):
        mupwd.family(build, base=BASE, inputs=(jnp.ones((2, 3)),), axis_names=["embed"])


class Annotated(nnx.Module):
    """A readout behind a layer; `metadata` is of the layer's kernel."""

    def __init__(self, width, rngs, **metadata):
        with nnx.use_eager_sharding(False):
            self.up = nnx.Linear(4, width, rngs=rngs)
            self.hidden = nnx.Linear(width, width, rngs=rngs, kernel_metadata=metadata)
            self.readout = nnx.Linear(width, 2, rngs=rngs)

    def __call__(self, x):
        return self.readout(nnx.relu(self.hidden(nnx.relu(self.up(x)))))


def annotated(axis_names=None, overrides=None, **metadata):
    return mupwd.family(
        lambda width, seed: Annotated(width, nnx.Rngs(seed), **metadata),
        base=BASE,
        inputs=(jnp.ones((2, 4)),),
        axis_names=axis_names,
        overrides=overrides,
    )


def test_names_of_nnx():
    names = ("embed", ("model", "data"))
    assert annotated({"embed": "in grows"}, out_sharding=names).parameters["hidden/kernel"].role == "matrix"
    with pytest.raises(
        mupwd.TraceError, match=r"hidden/kernel: axis 0 is named 'embed' \(nnx metadata of sharding\)"
    ):
        annotated({"embed": "out"}, out_sharding=names)


# What an nnx variable says of itself


@pytest.mark.parametrize("statement", ["matrix: in out", "in out"])
def test_a_statement_in_nnx_metadata_that_agrees(statement):
    assert annotated(mup_axes=statement) == annotated()


@pytest.mark.parametrize("statement", ["output: in out", "out in", "wide: stack out"])
def test_a_statement_in_nnx_metadata_that_contradicts(statement):
    with pytest.raises(mupwd.TraceError) as error:
        annotated(mup_axes=statement)
    assert f"hidden/kernel: nnx metadata mup_axes says {statement!r}" in str(error.value)
    assert "the program makes it 'matrix: in out' (dot_general" in str(error.value)


def test_an_override_settles_a_contradiction():
    family = annotated(mup_axes="output: in out", overrides={"hidden/kernel": "matrix: in out"})
    assert family.parameters["hidden/kernel"].role == "matrix"


def test_a_statement_decides_what_the_program_does_not():
    class Merged(nnx.Module):
        """A low-rank update that is multiplied out before it meets data."""

        def __init__(self, width, rngs, a, b):
            self.up = nnx.Linear(4, width, rngs=rngs)
            self.a = nnx.Param(jax.random.normal(rngs.params(), (width, 2)), **a)
            self.b = nnx.Param(jnp.zeros((2, width)), **b)
            self.readout = nnx.Linear(width, 2, rngs=rngs)

        def __call__(self, x):
            return self.readout(self.up(x) @ (self.a[...] @ self.b[...]))

    def family(a, b):
        build = lambda width, seed: Merged(width, nnx.Rngs(seed), a, b)  # noqa: E731
        return mupwd.family(build, base=BASE, inputs=(jnp.ones((2, 4)),))

    with pytest.raises(mupwd.TraceError, match="a: is contracted with a parameter"):
        family({}, {})
    found = family({"mup_axes": "narrow: in out"}, {"mup_axes": "wide: in out"}).parameters
    assert (found["a"].role, found["b"].role) == ("narrow", "wide")
    with pytest.raises(
        mupwd.TraceError, match="mup_axes = 'narrow: in' cannot be read as an override: a: the override has 1"
    ):
        family({"mup_axes": "narrow: in"}, {"mup_axes": "wide: in out"})
