"""Tries what one extra of an installed mupwd is for; `smoke.py` runs this in environments that have nothing else.

    python scripts/release/checks.py core|proxy|data|... README.md

It runs in an empty folder. An assertion, or a command that ends otherwise than it should, ends it with a traceback.
"""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

MODEL = """\
import math

import jax
import numpy as np


def forward(params, x):
    return jax.nn.relu(jax.nn.relu(x @ params["first"]) @ params["hidden"]) @ params["readout"]


def build(width, seed=0):
    keys, init = jax.random.split(jax.random.key(seed), 3), jax.nn.initializers.lecun_normal()
    shapes = {"first": (8, width), "hidden": (width, width), "readout": (width, 1)}
    return forward, {name: init(key, shape) for key, (name, shape) in zip(keys, shapes.items())}


inputs = (np.zeros((1, 8), np.float32),)


def train(width, hyperparameters, seed, directory):
    lr, wd = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    return {"eval/loss": 1 + (math.log2(lr) + 6) ** 2 + (math.log2(wd) + 1) ** 2 + 0.01 * seed}
"""
GRID = ("--widths", "16,32", "--seeds", "1", "--steps", "5", "--recipes", "mupwd")
GRID += ("--learning_rates", "2^-7:2^-5", "--weight_decays", "2^-2:2^0")
OWN = (*GRID, "--train", "plain:train", "--processes", "1")
TRIALS = 2 * 3 * 3
PROXY = (
    "--set",
    "layers=1",
    "--set",
    "batch_size=2",
    "--set",
    "sequence_length=16",
    "--set",
    "corpus=text.txt",
)


def core(readme: Path) -> None:
    """The first program of the README, some steps of training, the check of the start, and the table."""
    import jax
    import numpy as np
    import optax
    import plain  # pyright: ignore[reportMissingImports] - MODEL, in the folder where this runs

    import mupwd

    text = readme.read_text(encoding="utf-8")
    lines = text.partition("```python\n")[2].partition("```")[0]
    known = {"build": plain.build, "tokens": plain.inputs[0]}
    exec(lines, known)
    plan, tx, (forward, params) = known["plan"], known["tx"], (plain.forward, known["params"])
    assert (plan["hidden"].lr, plan["hidden"].wd, plan["readout"].wd) == (1 / 16, 4, 0), str(plan)
    x = np.random.default_rng(0).normal(size=(32, 8)).astype("float32")

    def loss(params: dict[str, jax.Array]) -> jax.Array:
        return ((forward(params, x) - x[:, :1]) ** 2).mean()

    state, losses = tx.init(params), []
    for _ in range(3):
        value, gradients = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(value))
    assert min(losses[1:]) < losses[0], losses
    narrow = mupwd.family(plain.build, base=16, inputs=plain.inputs)
    top = mupwd.spectrum(narrow.init(16), narrow.plan(16), k=1)["hidden"]
    assert 0 < float(top.sigma[0]) < 4, top
    mupwd.scorecard  # noqa: B018 - imported where it is first named
    out = command("plan", "--base", "256", "--width", "4096", "--save", "plan.json", "plain:build")
    assert "hidden" in out, out
    assert str(mupwd.Plan.load("plan.json")) == str(plan), out
    version = metadata.version("mupwd")
    assert f"mupwd {version}" in command("--version")


def proxy(_: Path) -> None:
    """A sweep of the proxy, its page and its pictures, and a plan of a preset."""
    out = command("sweep", "swept", *GRID, *PROXY)
    assert f"{TRIALS} trials have results" in out, out
    assert Path("swept/index.html").is_file()
    command("report", "swept", "--out", "report.html", "--figures", "figures")
    assert "plotly" in Path("report.html").read_text(encoding="utf-8")
    assert list(Path("figures").glob("*.png"))
    assert "hidden" not in command("plan", "--preset", "llama", "--base", "64", "--width", "128")


def data(_: Path) -> None:
    """A BPE of its own, and a stream of documents."""
    from mupwd.proxy import corpus

    words = corpus("text.txt", tokenizer="bpe", vocab_size=300, cache_directory=Path("cache"))
    assert words.batch(seed=0, step=0, batch_size=2, sequence_length=8).shape == (2, 9)
    Path("documents").mkdir()
    lines = Path("text.txt").read_text(encoding="utf-8").splitlines()
    rows = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    Path("documents/train.jsonl").write_text(rows, encoding="utf-8")
    streamed = corpus("hf:documents")
    assert streamed.batch(seed=0, step=0, batch_size=2, sequence_length=8).shape == (2, 9)


def parquet(_: Path) -> None:
    """A sweep's table."""
    import pyarrow.parquet

    command("sweep", "swept", *OWN, "--parquet")
    assert pyarrow.parquet.read_table("swept/trials.parquet").num_rows == TRIALS


def serve(_: Path) -> None:
    """The live page of a run."""
    from mupwd.report import RunLog

    with RunLog("run", {"learning_rate": 1e-3, "weight_decay": 0.1}) as log:
        log(1, {"train/loss": 2.0})
    words = (program(), "report", "run", "--serve", "--port", "0")
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            address = re.search(r"http://\S+", line)
            assert address, line
            with urllib.request.urlopen(address[0], timeout=60) as page:
                assert b"mupwd" in page.read()
        finally:
            server.send_signal(signal.SIGINT)
    assert server.returncode == 0, server.returncode


def tensorboard(_: Path) -> None:
    """Event files."""
    from mupwd.report import RunLog, TensorBoard

    with RunLog("run", {"learning_rate": 1e-3, "weight_decay": 0.1}, sinks=[TensorBoard("events")]) as log:
        log(1, {"train/loss": 2.0})
    assert any(b"train/loss" in file.read_bytes() for file in Path("events").iterdir())


def optuna(_: Path) -> None:
    """A sweep whose trials Optuna chooses."""
    assert "trials have results" in command("sweep", "swept", *OWN, "--optuna", "3")


def ray(_: Path) -> None:
    """A sweep by a worker of a Ray cluster of this machine."""
    out = command("sweep", "swept", *GRID, "--train", "plain:train", "--executor", "ray", "--workers", "1")
    assert f"{TRIALS} trials have results" in out, out


def slurm(_: Path) -> None:
    """A sweep by SLURM jobs where there is a SLURM; where there is none, that this is said, by submitit's word."""
    words = ("sweep", "swept", *GRID, "--train", "plain:train", "--executor", "slurm", "--workers", "1")
    try:
        subprocess.run(["sinfo"], check=True, capture_output=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        said = refused(*words)
        assert "there is no SLURM" in said or "SLURM takes no job" in said, said
        print("note: no SLURM here; refused as it should")
    else:
        assert f"{TRIALS} trials have results" in command(*words)


def docs(_: Path) -> None:
    """What builds the site, on a page of its own: the project's pages are no part of what is installed."""
    Path("pages").mkdir()
    extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_copybutton", "sphinx_design"]
    configuration = f"extensions = {extensions}\nhtml_theme = 'sphinx_book_theme'\n"
    Path("pages/conf.py").write_text(configuration, encoding="utf-8")
    page = "# mupwd\n\n```{eval-rst}\n.. autofunction:: mupwd.adamw\n```\n"
    Path("pages/index.md").write_text(page, encoding="utf-8")
    command_line = (sys.executable, "-m", "sphinx", "-W", "--builder", "html", "pages", "site")
    subprocess.run(command_line, check=True, timeout=1500)
    assert "weight_decay" in Path("site/index.html").read_text(encoding="utf-8")


def missing(_: Path) -> None:
    """Whatever needs an extra that is not installed says which one; with the proxy installed, or without."""
    needs = {
        "data": (
            "data",
            code("from mupwd.proxy import corpus; corpus('text.txt', tokenizer='bpe', vocab_size=300)"),
        ),
        "streams": ("data", code("from mupwd.proxy import corpus; corpus('hf:documents')")),
        "tensorboard": ("tensorboard", code("from mupwd.report import TensorBoard; TensorBoard('events')")),
    }
    if not has("flax"):
        needs |= {
            "demo": ("proxy", (program(), "demo")),
            "check": ("proxy", (program(), "check")),
            "sweep": ("proxy", (program(), "sweep", "swept")),
            "report": ("proxy", (program(), "report", "run")),
            "preset": ("proxy", (program(), "plan", "--preset", "llama", "--base", "64", "--width", "128")),
            "module": ("proxy", code("from mupwd.proxy import Trainer")),
        }
    else:
        sweep = (program(), "sweep", "swept", *OWN[:-2])
        needs |= {
            "parquet": ("parquet", (*sweep, "--parquet")),
            "optuna": ("optuna", (*sweep, "--optuna", "3")),
            "ray": ("ray", (*sweep, "--executor", "ray")),
            "slurm": ("slurm", (*sweep, "--executor", "slurm")),
            "serve": ("serve", (program(), "report", ".", "--serve", "--port", "0")),
        }
    for name, (extra, words) in needs.items():
        done = subprocess.run(words, capture_output=True, text=True, timeout=1500)
        said, wanted = (
            f"{name}: {done.returncode} {done.stdout}{done.stderr}",
            f"pip install 'mupwd[{extra}]'",
        )
        assert done.returncode != 0, said
        assert wanted in done.stderr, f"expected {wanted}, got {said}"
        assert words[0] != program() or "Traceback" not in done.stderr, said
        print(f"{name}: {done.stderr.strip().splitlines()[-1]}")


def has(package: str) -> bool:
    """Whether a distribution is installed."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def program() -> str:
    """Returns the installed command of this environment."""
    return str(Path(sys.executable).with_name("mupwd"))


def code(text: str) -> tuple[str, ...]:
    """Returns the command that runs a line of Python."""
    return (sys.executable, "-c", text)


def command(*arguments: str) -> str:
    """Runs mupwd; returns what it prints, and raises where it fails."""
    done = subprocess.run((program(), *arguments), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, f"mupwd {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def refused(*arguments: str) -> str:
    """Runs mupwd where it should end with an error of its own; returns that."""
    done = subprocess.run((program(), *arguments), capture_output=True, text=True, timeout=1500)
    assert done.returncode == 2, f"{done.returncode} {done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr


CHECKS: dict[str, Callable[[Path], None]] = {
    one.__name__: one
    for one in (core, missing, proxy, data, parquet, serve, tensorboard, optuna, ray, slurm, docs)
}


def main() -> int:
    """Tries one extra."""
    name, readme = sys.argv[1:]
    Path("plain.py").write_text(MODEL, encoding="utf-8")
    Path("text.txt").write_text(
        "".join(f"line {i} of a text that is long enough\n" for i in range(400)), encoding="utf-8"
    )
    sys.path.insert(0, str(Path.cwd()))
    import mupwd

    here = Path(inspect.getfile(mupwd)).resolve()
    assert here.is_relative_to(Path(sys.prefix).resolve()), f"this is to try an installed package, not {here}"
    CHECKS[name](Path(readme))
    return 0


if __name__ == "__main__":
    sys.exit(main())
