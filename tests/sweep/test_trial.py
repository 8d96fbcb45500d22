"""Trials and their results as values."""

import json
import math

import pytest

from mupwd.sweep.trial import Result, Trial

VALUES = {"learning_rate": 2**-6, "weight_decay": 0.1, "recipe": "mupwd", "steps": 10}


def test_the_id_is_that_of_the_configuration():
    one = Trial(32, VALUES, 0)
    assert one.id == Trial(32, dict(reversed(VALUES.items())), 0).id
    others = [Trial(64, VALUES, 0), Trial(32, VALUES, 1), Trial(32, VALUES | {"steps": 11}, 0)]
    assert len({one.id, *(other.id for other in others)}) == 4


def test_the_id_does_not_change_between_versions():
    assert Trial(32, VALUES, 0).id == "7198491bb02a26527371"


def test_whole_numbers_and_floats_are_the_same_decay():
    assert Trial(32, VALUES | {"weight_decay": 1}, 0).id == Trial(32, VALUES | {"weight_decay": 1.0}, 0).id


@pytest.mark.parametrize(
    ("width", "values", "seed", "message"),
    [
        (0, VALUES, 0, "width must be an integer of at least 1, got 0"),
        (32.0, VALUES, 0, "width must be an integer"),
        (32, VALUES, -1, "seed must be an integer of at least 0, got -1"),
        (32, {"weight_decay": 0.1}, 0, "'learning_rate' must be a number of at least 0, got None"),
        (32, VALUES | {"weight_decay": -0.1}, 0, "'weight_decay' must be a number of at least 0, got -0.1"),
        (32, VALUES | {"learning_rate": math.nan}, 0, "'learning_rate' must be finite, got nan"),
        (32, VALUES | {"schedule": [1, 2]}, 0, r"'schedule' must be a number, a string, .* got \[1, 2\]"),
    ],
)
def test_bad_configurations_are_named(width, values, seed, message):
    with pytest.raises(ValueError, match=message):
        Trial(width, values, seed)


@pytest.mark.parametrize("loss", [1.5, math.nan, math.inf])
def test_results_survive_json(loss):
    result = Result(Trial(32, VALUES, 0), {"eval/loss": loss, "status": "finished", "step": 10}, 1.25)
    back = Result.from_json(json.loads(json.dumps(result.as_json(), allow_nan=False)))
    assert back.trial.id == result.trial.id
    assert back.metrics == pytest.approx(result.metrics, nan_ok=True)
    assert back.loss == (loss if math.isfinite(loss) else math.inf)
    assert back.observation().pair == (2**-6, 0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "0" * 20}, "its id is"),
        ({"seed": 1}, "its id is"),
        ({"metrics": {}}, "lack 'eval/loss'"),
        ({"metrics": {"eval/loss": "good"}}, "'eval/loss' is 'good', not a number"),
        ({"metrics": {"eval/loss": 1.0, "x": None}}, "'x' is None"),
        ({"metrics": 3}, "must be objects"),
    ],
)
def test_a_result_that_is_not_one_is_refused(change, message):
    data = Result(Trial(32, VALUES, 0), {"eval/loss": 1.0}, 1.0).as_json()
    with pytest.raises(ValueError, match=message):
        Result.from_json(data | change)


def test_a_result_without_fields_is_refused():
    with pytest.raises(ValueError, match="expected an object with"):
        Result.from_json([])
