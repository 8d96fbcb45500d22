"""`mupwd report`, as it is called."""

import json
import signal
import subprocess
import sys
import time
import urllib.request

import pytest
from helpers.logs import write_run, write_sweep

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
    names = ["loss", *(f"{one}-1-stays" for one in ("heat", "steps", "sigma", "slopes", "widths", "shapes"))]
    assert {file.name for file in figures.iterdir()} == {
        f"{name}.{kind}" for name in (*names, "geometry-1-stays") for kind in ("png", "svg")
    }
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in figures.glob("*.png"))
    assert str(figures / "loss.svg") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--serve", "--out", "a.html"), "--out writes files and --serve none"),
        (("--serve", "--figures", "a"), "--figures writes files and --serve none"),
        (("--port", "0"), "--port is of --serve"),
    ],
)
def test_refuses_flags_that_do_not_go_together(tmp_path, capsys, flags, message):
    assert main(["report", str(tmp_path), *flags]) == 2
    assert message in capsys.readouterr().err


def test_serves_the_page_and_its_data_while_a_sweep_runs(tmp_path):
    (tmp_path / "trials").mkdir()
    command = [sys.executable, "-m", "mupwd.commands.main", "report", str(tmp_path), "--serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[1]
            with urllib.request.urlopen(f"{address}data", timeout=60) as answer:
                assert json.load(answer)["runs"] == []
            write_run(tmp_path / "trials" / "abc", 32)
            deadline = time.monotonic() + 60
            found: dict = {"runs": []}
            while not found["runs"] and time.monotonic() < deadline:
                time.sleep(0.2)
                with urllib.request.urlopen(f"{address}data", timeout=60) as answer:
                    found = json.load(answer)
            assert [run["status"] for run in found["runs"]] == ["running"]
            with urllib.request.urlopen(address, timeout=60) as answer:
                assert "mupwdUpdate" in answer.read().decode()
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0
