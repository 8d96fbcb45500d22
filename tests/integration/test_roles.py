"""The whole role tree of models that others wrote and that install from PyPI, against files that read well."""

from pathlib import Path

import jax
import pytest
from integration import golden, table

import mupwd

NAMES = [name for name in golden.NAMES if "\nENVIRONMENT = " not in golden.source(name)]
PAGE = Path(__file__).parents[2] / "docs" / "models.md"


@pytest.fixture(autouse=True)
def as_users_run_jax():
    """Other people's models rely on JAX's own settings of promotion."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def test_there_are_eight_packages_at_hand_and_five_frameworks():
    found = [golden.read(name) for name in NAMES]
    assert len(NAMES) >= 8
    assert len({f["package"].split()[0] for f in found}) >= 8
    assert len({f["framework"] for f in found}) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_roles_and_axes(name):
    found = golden.traced(name)
    expected = golden.read(name)
    assert found["parameters"] == expected["parameters"]
    assert found.get("overrides") == expected.get("overrides")


def test_every_model_has_a_golden_file_and_every_golden_file_a_model():
    assert sorted(path.stem for path in golden.path("any").parent.glob("*.json")) == golden.NAMES
    assert [name for name in golden.NAMES if "environment" not in golden.read(name)] == NAMES


def test_a_codebook_is_refused_until_it_is_stated():
    with pytest.raises(
        mupwd.TraceError, match=r"^vector_quantizer/embeddings: is reduced before it meets data"
    ):
        golden.family(golden.model("haiku_vqvae"), overrides={})


def test_a_tied_embedding_cannot_be_folded():
    family = golden.family(golden.model("esm2_protein"))
    with pytest.raises(mupwd.PlanError, match=r"^logit_head/linear2/weight is both an input and an output"):
        family.plan(64)


def test_the_page_says_what_the_golden_files_say():
    assert PAGE.read_text() == table.with_rows(PAGE.read_text(), table.rows())
