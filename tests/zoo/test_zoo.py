"""The whole role tree of each model in the zoo, against a literal that was written by hand."""

import importlib
from pathlib import Path

import pytest
from zoo import refused

import mupwd

NAMES = sorted(
    path.stem for path in Path(__file__).parent.glob("*_*.py") if not path.stem.startswith("test_")
)


@pytest.fixture(scope="module", params=NAMES)
def model(request):
    return importlib.import_module(f"zoo.{request.param}")


@pytest.fixture(scope="module")
def family(model):
    return mupwd.family(model.build, base=64, inputs=model.inputs, call=getattr(model, "call", None))


def test_the_zoo_has_every_framework():
    assert len(NAMES) >= 12
    assert {name.partition("_")[0] for name in NAMES} == {"nnx", "linen", "equinox", "haiku", "plain"}


def test_roles(model, family):
    assert {path: parameter.role for path, parameter in family.parameters.items()} == model.ROLES


def test_axes(model, family):
    assert {path: parameter.axes for path, parameter in family.parameters.items()} == model.AXES


def test_copies_along_an_axis(model, family):
    found = {path: p.pieces for path, p in family.parameters.items() if p.pieces}
    assert found == getattr(model, "PIECES", {})


def test_scales_that_the_model_applies_itself(model, family):
    found = {path: p.scale_exponent for path, p in family.parameters.items() if p.scale_exponent}
    assert found == getattr(model, "SCALE_EXPONENTS", {})


@pytest.mark.parametrize("name", sorted(refused.REFUSED))
def test_what_structure_does_not_decide_is_refused(name):
    with pytest.raises(mupwd.TraceError, match=f"^{refused.REFUSED[name]}: ") as caught:
        mupwd.family(getattr(refused, name), base=64, inputs=refused.inputs)
    assert f"overrides={{'{refused.REFUSED[name]}'" in str(caught.value)
    assert "refused.py:" in str(caught.value)
