"""Coordinate checks, at two widths, of models that others wrote: nothing goes with width, unless it is known why.

`mupwd.coordinate_check` wants three widths, to be sure of its intervals. At two widths that lie far apart the exponents
themselves say enough: a wrong rule is off by 1/2 or 1. All but one of the models take long to compile: they are marked
slow, and run by `pytest tests/integration/test_coordinates.py -m slow`.
"""

from collections import defaultdict
from statistics import median

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integration import golden

import mupwd
from mupwd.diagnostics.coordinate_result import judged
from mupwd.diagnostics.coordinate_runs import prepared, stacked

WIDTHS, SEEDS, STEPS, TOLERANCE = (16, 64), 4, 1, 0.25
SLOW = (
    "equimo_convnext",
    "equimo_vit",
    "esm2_protein",
    "flowjax_maf",
    "haiku_vqvae",
    "jraph_graph_network",
    "mamba2_decoder",
    "penzai_llama",
)
NAMES = (
    "stax_convnet",
    *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW),
)
# Of a vector quantizer's product of codes and data only the index of the nearest is used.
CODEBOOK = ("vector_quantizer/embeddings", "product", "initial gain")


@pytest.fixture(autouse=True)
def as_users_run_jax():
    """Other people's models rely on JAX's own settings of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def check(name, recipe="mupwd"):
    """The roles of a family's parameters and, per line of the check, how far its exponent is from theory's."""
    model = golden.model(name)
    family = golden.family(model)
    targets = np.random.default_rng(1).normal(size=model.OUTPUTS).astype(np.float32)

    def square(outputs, targets):
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs  # haiku's come with its state
        return jnp.mean((outputs - targets) ** 2)

    batches = [stacked((model.inputs, targets), seed, STEPS) for seed in range(SEEDS)]
    runs, plans, uses = {}, {}, {}
    for width in getattr(model, "WIDTHS", WIDTHS):
        plan = plans[width] = family.plan(width, recipe=recipe, form=getattr(model, "FORM", "folded"))
        # Gradients behind a gain of 1e-6, as layer scales start with, are below Adam's own eps.
        program = prepared(family, width, plan, square, mupwd.adamw(2**-11, plan, eps=1e-16))
        uses[width] = program.uses(batches[0])
        init = getattr(model, "init", lambda width, seed, plan=plan: family.init(width, seed, plan=plan))
        runs[width] = [program.measure(init(width, seed), batches[seed]) for seed in range(SEEDS)]
    found = judged(runs, plans, uses)
    return family, [
        (line, line.exponent - np.clip(line.exponent, *line.predicted))
        for line in found.lines
        if line.exponent is not None and line.path in family.parameters
    ]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_goes_with_width(name):
    family, lines = check(name)
    own_init = hasattr(golden.model(name), "init")
    roles = defaultdict(list)
    for line, off in lines:
        role = family.parameters[line.path].role
        if (line.path, line.use, line.quantity) == CODEBOOK:
            assert off == pytest.approx(0.5, abs=TOLERANCE)
        elif line.quantity == "change" or not own_init:
            assert abs(off) <= TOLERANCE, f"{role} {line.name}, {line.quantity}: off by {off:.2f}"
            roles[role].append(line.quantity)
    assert {"matrix", "vector"} <= set(roles)
    assert all("change" in quantities for quantities in roles.values())


@pytest.mark.parametrize("name", ["stax_convnet", pytest.param("mamba2_decoder", marks=pytest.mark.slow)])
def test_the_standard_parametrisation_is_seen(name):
    family, lines = check(name, "sp")
    changes = [
        off
        for line, off in lines
        if line.quantity == "change" and family.parameters[line.path].role == "matrix"
    ]
    assert median(changes) > 0.5


def test_an_initialisation_that_is_no_power_of_the_width_is_refused():
    family = golden.family(golden.model("penzai_llama"))
    with pytest.raises(mupwd.TraceError, match=r"^transformer%2Flm_head.*averages fan_in and fan_out"):
        family.init(64)
