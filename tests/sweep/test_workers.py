"""Workers that end are replaced, and not for ever."""

import subprocess
import sys

import pytest
from helpers.synthetic import train
from rich.console import Console

from mupwd.sweep.errors import SweepError
from mupwd.sweep.fixed import FixedStudy
from mupwd.sweep.known import Known
from mupwd.sweep.progress import SweepProgress
from mupwd.sweep.ray_workers import RayWorkers
from mupwd.sweep.slurm_workers import SlurmWorkers
from mupwd.sweep.store import Store
from mupwd.sweep.trial import Result, Trial
from mupwd.sweep.workers import supervise

TRIALS = tuple(
    Trial(32, {"learning_rate": 2.0**-k, "weight_decay": 0.1, "recipe": "stays"}, 0) for k in range(3, 6)
)


class Ending:
    """Processes that end at once; some trials are recorded first."""

    at_a_time = 1

    def __init__(self, store, record, refused=()):
        self.store, self.record, self.processes, self.stopped = store, list(record), [], False
        self.refused, self.asked = refused, 0

    def start(self):
        self.asked += 1
        if self.asked - 1 in self.refused:
            raise SweepError("the cluster is busy")
        if self.record:
            trial = self.record.pop()
            self.store.put(Result(trial, train(trial.width, trial.hyperparameters, trial.seed, None), 1.0))
        self.processes.append(subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"]))
        return str(len(self.processes) - 1)

    def living(self):
        return {str(n): "running" for n, one in enumerate(self.processes) if one.poll() is None}

    def last_words(self, worker):
        return f"exit code {self.processes[int(worker)].wait()}"

    def stop(self):
        self.stopped = True
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def supervised(tmp_path):
    store, notices = Store(tmp_path, print), []

    def run(record, count, refused=()):
        workers = run.workers = Ending(store, record, refused)
        with (
            open(tmp_path / "out", "w", encoding="utf-8") as file,
            SweepProgress(Console(file=file), {32: 3}, count) as progress,
        ):
            known = Known(FixedStudy(TRIALS), store, progress)
            return supervise(known, workers, count, notices.append, seconds=0.05), workers, notices

    return run


def test_workers_that_end_are_replaced_until_no_trial_is_missing(supervised):
    ran, workers, notices = supervised(TRIALS, 1)
    assert len(ran.results) == 3 == len(workers.processes)
    assert workers.stopped
    assert notices[0] == "worker 0 ended (exit code 3) with 2 trials missing"


def test_workers_that_end_again_and_again_end_the_run(supervised):
    with pytest.raises(
        SweepError, match=r"workers ended one after another.*exit code 3. What is finished is kept"
    ):
        supervised(TRIALS[:1], 2)
    assert supervised.workers.stopped


def test_one_that_is_refused_while_others_live_is_asked_for_again(supervised):
    ran, _, notices = supervised(TRIALS, 2, refused=(1,))
    assert len(ran.results) == 3
    assert notices[0] == "the cluster is busy; 1 workers go on, and it is tried again"


def test_the_first_that_is_refused_ends_the_command(supervised):
    with pytest.raises(SweepError, match="the cluster is busy"):
        supervised(TRIALS, 2, refused=(0,))


@pytest.mark.parametrize(
    ("workers", "package", "message"),
    [
        (RayWorkers, "ray", r"the ray executor needs ray: pip install 'mupwd\[ray\]'"),
        (
            SlurmWorkers,
            "submitit.slurm",
            r"the slurm executor needs submitit\.slurm: pip install 'mupwd\[slurm\]'",
        ),
    ],
)
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, workers, package, message):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModuleNotFoundError, match=message):
        workers(tmp_path, {}, None, 0, print)


def test_a_machine_without_slurm_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        SweepError, match=r"no SLURM on this machine .*; start the command where sbatch works"
    ):
        SlurmWorkers(tmp_path, {}, None, 0, print)


def test_the_name_of_the_jobs_is_taken(tmp_path, monkeypatch):
    (tmp_path / "srun").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match=r"--resource job_name: .*; leave it out"):
        SlurmWorkers(tmp_path, {"job_name": "mine"}, None, 0, print)
