"""One owner per trial: while it lives, and no longer."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from mupwd.sweep.claims import Claims


@pytest.fixture
def notices():
    return []


def claims(directory, notices, patience=60.0):
    return Claims(directory, notices.append, patience)


def another(directory, *names):
    """A living process that holds claims."""
    code = (
        "import sys, time, pathlib\n"
        "from mupwd.sweep.claims import Claims\n"
        "with Claims(pathlib.Path(sys.argv[1]), print, 1.0) as claims:\n"
        "    print([claims.take(name) for name in sys.argv[2:]], flush=True)\n"
        "    time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(directory), *names], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{[True] * len(names)}\n"
    return process


def end(process):
    process.kill()
    process.communicate()


def test_a_claim_is_held_by_one_and_given_up_at_the_end(tmp_path, notices):
    with claims(tmp_path, notices) as mine:
        assert mine.take("a")
        with claims(tmp_path, notices) as other:
            assert not other.take("a")
            assert other.take("b")
            assert mine.held() == other.held() == ["a", "b"]
        assert mine.held() == ["a"]
        mine.release("a")
        assert mine.take("a")
    assert list((tmp_path / "claims").iterdir()) == []
    assert notices == []


def test_of_many_threads_one_gets_the_claim(tmp_path, notices):
    owners = [claims(tmp_path, notices) for _ in range(8)]
    for name in map(str, range(50)):
        ready, got = threading.Barrier(len(owners)), []

        def take(one, name=name, ready=ready, got=got):
            ready.wait()
            got.append(one.take(name))

        threads = [threading.Thread(target=take, args=(one,)) for one in owners]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(got) == 1


def test_the_claims_of_a_killed_process_are_free_at_once(tmp_path, notices):
    process = another(tmp_path, "a", "b")
    with claims(tmp_path, notices) as mine:
        assert not mine.take("a")
        end(process)
        assert mine.take("a")
        assert mine.held() == ["a"]
    assert [f"was claimed by process {process.pid} on" in text for text in notices] == [True, True]
    assert "its process has ended" in notices[0]


def foreign(directory, name, **changes):
    """A claim of another machine, of whose process nothing can be known here."""
    path = directory / "claims" / name
    path.write_text(json.dumps({"host": "elsewhere", "machine": "m", "pid": 1, "began": "5"} | changes))
    return path


def test_a_claim_from_elsewhere_falls_when_nobody_touches_it_for_long_enough(tmp_path, notices):
    with claims(tmp_path, notices, patience=0.4) as mine:
        foreign(tmp_path, "a")
        deadline = time.monotonic() + 60
        assert not mine.take("a")
        while not mine.take("a"):
            assert time.monotonic() < deadline
            time.sleep(0.02)
    assert "process 1 on elsewhere, but no sign of life for 0.4 s" in notices[0]


@pytest.mark.parametrize("jump", [-1e8, 0.0, 1e8])
def test_a_claim_that_is_touched_stays_however_wrong_the_clocks_are(tmp_path, notices, jump):
    with claims(tmp_path, notices, patience=0.5) as mine:
        path = foreign(tmp_path, "a")
        for beat in range(20):
            os.utime(path, (time.time() + jump + beat, time.time() + jump + beat))
            assert not mine.take("a")
            time.sleep(0.1)
    assert notices == []


def test_a_living_owner_keeps_its_claim_by_touching_it(tmp_path, notices):
    process = another(tmp_path, "a")
    try:
        with claims(tmp_path, notices, patience=1.5) as mine:
            begin = time.monotonic()
            while time.monotonic() < begin + 4:
                assert not mine.take("a")
                time.sleep(0.05)
    finally:
        end(process)


def test_a_claim_that_another_took_away_is_not_released_by_its_former_owner(tmp_path, notices):
    with claims(tmp_path, notices) as mine:
        assert mine.take("a")
        path = foreign(tmp_path, "a")
        mine.release("a")
        assert path.exists()
        assert not mine.take("a")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"pid": "x"}', "\ud800\udfff"])
def test_damaged_claims_fall_as_those_from_elsewhere_do(tmp_path, notices, text):
    with claims(tmp_path, notices, patience=0.3) as mine:
        (tmp_path / "claims" / "a").write_bytes(text.encode("utf-8", "surrogatepass"))
        assert not mine.take("a")
        time.sleep(0.4)
        assert mine.take("a")
    assert "a process that left no name" in notices[0]


def test_a_number_that_was_used_again_is_not_the_owner(tmp_path, notices):
    process = another(tmp_path, "a")
    try:
        path = tmp_path / "claims" / "a"
        owner = json.loads(path.read_text())
        with claims(tmp_path, notices) as mine:
            if not owner["machine"]:
                pytest.skip("processes can be told apart on Linux only")
            path.write_text(json.dumps(owner | {"began": "1"}))
            assert mine.take("a")
    finally:
        end(process)


@pytest.mark.parametrize("folder", ["claims", "lost"])
def test_a_pipe_is_not_waited_for(tmp_path, notices, folder):
    with claims(tmp_path, notices) as mine:
        os.mkfifo(tmp_path / folder / "a")
        if folder == "lost":
            assert mine.losses() == {"a": ["a process that left no name"]}
        else:
            for look in (mine.held, lambda: mine.take("a")):
                with pytest.raises(OSError, match=r"a pipe or a device: '.*claims/a'"):
                    look()
