"""Coordinate checks of models that others wrote: they pass, or do not for a reason that is known.

Three widths, as few as the check takes, tiny ones; intervals of 80%, since there are few runs.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from integration import golden

import mupwd


@pytest.fixture(autouse=True)
def as_users_run_jax():
    """Other people's models rely on JAX's own settings of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def check(name, widths=(16, 32, 64)):
    model = golden.model(name)
    targets = np.random.default_rng(1).normal(size=model.OUTPUTS).astype(np.float32)

    def square(outputs, targets):
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs  # haiku's come with its state
        return jnp.mean((outputs - targets) ** 2)

    return mupwd.coordinate_check(
        golden.family(model),
        (model.inputs, targets),
        square,
        learning_rate=2**-11,
        widths=widths,
        steps=1,
        level=0.8,
    )


@pytest.mark.parametrize("name", ["equimo_vit", "mamba2_decoder"])
def test_a_model_passes(name):
    found = check(name)
    assert found.verdict == "pass", str(found)


def test_only_a_codebook_that_picks_the_nearest_code_goes_with_width():
    found = check("haiku_vqvae")
    assert found.failed == ["vector_quantizer/embeddings"], str(found)
    # Its products with data, of which only the index of the largest is used; the codes that are looked up are in order.
    [line] = [line for line in found.lines if line.verdict == "fail"]
    assert (line.use, line.quantity) == ("product", "initial gain")


def test_an_initialisation_that_is_no_power_of_the_width_is_refused():
    with pytest.raises(mupwd.TraceError, match=r"^transformer%2Flm_head.*averages fan_in and fan_out"):
        check("penzai_llama", widths=(32, 64, 128))
