"""docs/performance.md and README say what the benchmarks printed, to the digit."""

import performance
import pytest
from printed import Printed, numbers

TABLE = """$ python benchmarks/some.py
# 2026-11-23, a machine

loss
               ms per step   ratio      95% interval
plain                 2.00   1.000    1.000 to 1.000
ours                  2.01   1.003    0.978 to 1.027

gradient
               ms per step   ratio      95% interval
ours                  3.01     1.5    1.4 to 1.6
"""


def test_the_page_is_what_the_outputs_say():
    assert performance.page() == performance.PAGE.read_text(encoding="utf-8")


def test_an_output_is_that_of_its_command():
    for name, one in performance.printed().items():
        assert one.text.startswith(f"$ {performance.COMMANDS[name]}\n# 20"), name


def test_readme_quotes_the_same_numbers():
    found = numbers(performance.printed())
    readme = (performance.ROOT / "README.md").read_text(encoding="utf-8")
    cost = next(part for part in readme.split("\n\n") if part.startswith("**Cost.**"))
    for name in ("adamw", "adamw_parameters", "forward"):
        assert f" {found[name]} " in cost
    assert f"LLaMA {found['plan_seconds']} seconds" in cost


def test_a_line_is_found_by_its_label():
    one = Printed("some.txt", TABLE)
    assert one.where == "2026-11-23, a machine"
    assert one.sections() == ["loss", "gradient"]
    assert one.ratio("ours", "loss") == "1.003 [0.978, 1.027]"
    assert one.ratio("ours", "gradient") == "1.5 [1.4, 1.6]"
    assert one.columns("plain") == ["2.00", "1.000", "1.000", "to", "1.000"]
    for label, section, count in (("ours", "", 2), ("theirs", "loss", 0), ("plain", "gradient", 0)):
        with pytest.raises(ValueError, match=rf"some\.txt: expected one line .*'{label}'.*found {count}"):
            one.line(label, section)


def test_what_cannot_be_said_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(performance, "numbers", lambda printed: {})
    with pytest.raises(KeyError, match=r"performance\.md asks for adamw, .*; there are output_dispatch, "):
        performance.page()
    monkeypatch.setattr(performance, "KEPT", tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"optimizer\.txt: missing; python benchmarks/performance\.py --run"
    ):
        performance.page()


def test_a_run_keeps_what_was_printed_and_a_failure_keeps_what_was_there(monkeypatch, tmp_path):
    monkeypatch.setattr(performance, "KEPT", tmp_path / "kept")
    monkeypatch.setitem(performance.COMMANDS, "plan", "python -c 'print(7 * 6)'")
    performance.run("plan", "python")
    command, where, output = (tmp_path / "kept" / "plan.txt").read_text().splitlines()
    assert (command, output) == ("$ python -c 'print(7 * 6)'", "42")
    assert where.startswith("# 20")
    assert "cores; Python 3." in where
    assert ", jax 0." in where
    monkeypatch.setitem(performance.COMMANDS, "plan", "python -c 'print(1); exit(3)'")
    with pytest.raises(SystemExit, match=r"ended with exit code 3.*plan\.txt is as it was"):
        performance.run("plan", "python")
    assert (tmp_path / "kept" / "plan.txt").read_text().endswith("\n42\n")
