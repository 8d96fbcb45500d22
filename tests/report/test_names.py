"""Names that no terminal should be given."""

import os

import pytest
from helpers.logs import write_run, write_trial

from mupwd.commands.main import main


@pytest.mark.parametrize("name", ["\x1b[2J", "\udcff", "a\nnote: b"])
def test_names_are_printed_as_text(tmp_path, capfd, name):
    (tmp_path / "trials").mkdir()
    given = {"learning_rate": 2**-5, "weight_decay": 0.5, "recipe": name, "base": 32}
    write_trial(tmp_path / "trials", 32, given, 0)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0
    assert f"{name!r}"[1:-1] + ": one width" in capfd.readouterr().out.splitlines()[0]


def test_directories_whose_names_are_no_utf8_can_be_read_from_and_written_to(tmp_path, capfd):
    odd = tmp_path / os.fsdecode(b"\xff")
    write_run(odd / "trials" / "one", 32)
    assert main(["report", str(odd), "--out", str(odd / "report.html")]) == 0
    assert "\\udcff/report.html" in capfd.readouterr().out
    assert "1 run of �" in (odd / "report.html").read_text(encoding="utf-8")
