import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "examples" / "llama_widths.py"
PNG = b"\x89PNG\r\n\x1a\n"


def test_it_trains_two_widths_and_draws_them(tmp_path):
    flags = ["--widths", "32", "64", "--recipes", "mupwd", "--steps", "10", "--batch_size", "2"]
    command = [sys.executable, str(SCRIPT), *flags, "--directory", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "layers/*/mlp/up/kernel" in done.stdout
    assert done.stdout.count("finished") == 2
    assert (tmp_path / "llama_widths.png").read_bytes().startswith(PNG)
    assert (tmp_path / "mupwd_64" / "result.json").exists()


def test_it_is_short():
    assert len(SCRIPT.read_text().splitlines()) < 100
