"""`mupwd report`, as it is called."""

import pytest
from helpers.logs import write_sweep

from mupwd.commands.main import main


def test_writes_one_page_and_says_the_verdict(tmp_path, capsys):
    write_sweep(tmp_path / "sweep")
    out = tmp_path / "new" / "report.html"
    assert main(["report", str(tmp_path / "sweep"), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "stays: transfers" in printed
    assert "moves: drifts" in printed
    assert f"written: {out}" in printed
    assert "Tuned at width 32, applied at width 128" in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "message"), [("gone", "is no directory"), ("empty", "holds no run")])
def test_refuses_what_holds_nothing(tmp_path, capsys, name, message):
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / name), "--out", str(tmp_path / "report.html")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_draws_figures_of_the_panels(tmp_path, capsys):
    write_sweep(tmp_path / "sweep", recipes=("stays",))
    figures = tmp_path / "figures"
    out = str(tmp_path / "report.html")
    assert main(["report", str(tmp_path / "sweep"), "--out", out, "--figures", str(figures)]) == 0
    names = ("loss", "sigma-1-stays", "widths-1-stays", "shapes-1-stays", "geometry-1-stays")
    assert {file.name for file in figures.iterdir()} == {
        f"{name}.{kind}" for name in names for kind in ("png", "svg")
    }
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in figures.glob("*.png"))
    assert str(figures / "loss.svg") in capsys.readouterr().out
