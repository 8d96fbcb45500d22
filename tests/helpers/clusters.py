"""Sweeps by `mupwd sweep` in processes of their own, with a model whose trials are counted and can be held up."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

MODULE = """
import math, os, signal, time

def train(width, hyperparameters, seed, directory):
    lr, wd = hyperparameters["learning_rate"], hyperparameters["weight_decay"]
    time.sleep(hyperparameters["pause"])
    if lr == hyperparameters.get("kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    with open(hyperparameters["log"], "a") as log:
        log.write(f"{width} {lr} {wd} {seed}\\n")
    return {"eval/loss": (math.log2(lr) + 6) ** 2 + (math.log2(wd) + 1) ** 2 + 0.01 * seed}
"""
GRID = ["--widths", "32,64,128", "--steps", "5", "--seeds", "2", "--recipes", "mupwd"]
GRID += ["--learning_rates", "2^-7:2^-5", "--weight_decays", "2^-2:2^0"]
TRIALS = 3 * 3 * 3 * 2


class Sweep:
    """One sweep of `TRIALS` trials in a folder that also holds its model."""

    def __init__(self, folder, *arguments, pause=0.1):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "counted.py").write_text(MODULE)
        self.folder, self.directory, self.log = folder, folder / "sweep", folder / "log"
        own = ["--set", f"pause={pause}", "--set", f"log={self.log}"]
        self.declared = [*GRID, "--train", "counted:train", *own, *arguments]

    def start(self, *arguments, **environment):
        """Starts the command; its output is what `communicate` returns."""
        return subprocess.Popen(
            [sys.executable, "-m", "mupwd.commands.main", "sweep", str(self.directory), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            # One CPU device is enough for a model that has no arrays.
            env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""} | environment,
            start_new_session=True,
        )

    def results(self):
        """Returns the ids of trials that have results."""
        return {path.stem for path in self.directory.glob("trials/*.json")}

    def owners(self):
        """Returns the numbers of the processes that hold claims."""
        found = set()
        for path in self.directory.glob("claims/*"):
            # Given up by now, or just being written.
            with contextlib.suppress(FileNotFoundError, ValueError):
                found.add(json.loads(path.read_text())["pid"])
        return found

    def wait_for(self, condition, process, seconds=90):
        """Waits until a condition holds, which the process has to see."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "it took too long"
            time.sleep(0.05)

    def wait_until_begun(self, process):
        """Waits until the command looks after its workers, and some trials have finished since."""
        assert " trials of " in process.stdout.readline()
        count = len(self.results())
        self.wait_for(lambda: len(self.results()) >= count + 4, process)

    def kill_an_owner(self):
        """Kills one process in mid-trial; returns its number."""
        pid = min(self.owners())
        os.kill(pid, signal.SIGKILL)
        return pid

    def runs(self):
        """Returns one line per trial that ran to its end, repeated ones included."""
        return self.log.read_text().splitlines()
