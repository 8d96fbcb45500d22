"""`mupwd sweep` where the disk is full and where files are damaged: nothing finished is lost or run again."""

import subprocess

import pytest
from helpers.clusters import TRIALS, Sweep


@pytest.fixture
def small_disk(tmp_path):
    """A file system that takes few files, and a way to let it take more."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(*options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, text=True)

    mounted = mount("size=1m", "nr_inodes=60")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield folder, lambda: mount("remount", "size=8m", "nr_inodes=2000")
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_full_disk_ends_the_command_and_the_same_one_goes_on(tmp_path, small_disk, processes):
    folder, more = small_disk
    sweep = Sweep(tmp_path, pause=0.0)
    sweep.directory = folder / "sweep"
    first = sweep.start(*sweep.declared, "--processes", processes)
    _, errors = first.communicate(timeout=90)
    assert first.returncode == 2, errors
    assert "the disk is full" in errors
    assert "start the same command again" in errors
    finished = {path: path.stat().st_mtime_ns for path in sweep.directory.glob("trials/*.json")}
    assert 0 < len(finished) < TRIALS
    assert more().returncode == 0
    out, errors = (second := sweep.start("--processes", processes)).communicate(timeout=90)
    assert second.returncode == 0, errors
    assert f"{TRIALS} trials have results" in out
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    # Only what was on its way to the disk ran twice.
    assert len(sweep.runs()) - TRIALS <= 2 * int(processes)


def test_damaged_results_are_set_aside_and_their_trials_run_again(tmp_path):
    sweep = Sweep(tmp_path, pause=0.0)
    sweep.start(*sweep.declared).communicate(timeout=90)
    cut, garbage, swapped, other, *rest = sorted(sweep.directory.glob("trials/*.json"))
    cut.write_bytes(cut.read_bytes()[:100])
    garbage.write_bytes(b"\x00\xff" * 300)
    swapped.write_bytes(other.read_bytes())
    before = {path: path.stat().st_mtime_ns for path in [other, *rest]}
    _, errors = (again := sweep.start()).communicate(timeout=90)
    assert again.returncode == 0, errors
    assert errors.count("is damaged") == 3
    assert all(path.with_suffix(".damaged0").exists() for path in (cut, garbage, swapped))
    assert len(sweep.results()) == TRIALS == len(set(sweep.runs()))
    assert len(sweep.runs()) == TRIALS + 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
