"""Values to try."""

import pytest

from mupwd.sweep.grid import neighbours, octaves, parse_values


def test_octaves():
    assert octaves(2**-9, 2**-3) == tuple(2.0**k for k in range(-9, -2))
    assert octaves(0.1, 0.1) == (0.1,)
    assert octaves(1.0, 16.0, 2.0) == (1.0, 4.0, 16.0)


@pytest.mark.parametrize("ends", [(0, 1), (2, 1), (1, float("inf"))])
def test_octaves_refuses_ends_out_of_order(ends):
    with pytest.raises(ValueError, match=r"0 < lowest <= highest"):
        octaves(*ends)


def test_octaves_refuses_a_step_that_misses_the_end():
    with pytest.raises(ValueError, match=r"are 1\.58.* steps of 1 octaves apart"):
        octaves(1.0, 3.0)


def test_neighbours_stop_at_the_edge():
    assert neighbours((1, 2, 4), 2) == (1, 2, 4)
    assert neighbours((4, 2, 1), 1) == (1, 2)
    with pytest.raises(ValueError, match="3 is not one of"):
        neighbours((1, 2, 4), 3)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("2^-3:2^-1", (0.125, 0.25, 0.5)),
        ("0.0625:1:4", (0.0625, 0.25, 1.0)),
        ("1e-3, 2^-5,0.5", (1e-3, 0.03125, 0.5)),
        ("0.25", (0.25,)),
    ],
)
def test_values_of_a_flag(text, values):
    assert parse_values("--learning_rates", text) == values


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "a:b",
            "1:2:3:4",
            "1:3",
            "2:1",
            "0,1",
            "-1,2",
            "nan",
            "2^9999",
            "1:4:1",
            "1:4:-2",
            "-2^0.5",
            "0^-1",
        ),
        *("1:2:1.0000001", "1e-300:1e300:1.000001", "1e999", "0.1,0.2,"),
    ],
)
def test_a_bad_flag_is_named(text):
    with pytest.raises(ValueError, match=r"^--learning_rates: (?!.*domain error)(?!.*infinity)"):
        parse_values("--learning_rates", text)
