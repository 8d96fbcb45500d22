"""Files that are whole or not there, also when the writer is killed."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from mupwd.files import read_file, read_json, write_atomically


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("content", ["text: σ\n", b"\x00\xff", ""])
def test_text_and_bytes(tmp_path, content):
    file = tmp_path / "a.json"
    write_atomically(file, content)
    assert file.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert entries(tmp_path) == ["a.json"]


def test_replaces_and_follows_links(tmp_path):
    (tmp_path / "real").write_text("old")
    (tmp_path / "link").symlink_to("real")
    write_atomically(str(tmp_path / "link"), "new")
    assert (tmp_path / "real").read_text() == "new"
    assert (tmp_path / "link").is_symlink()


def test_the_mode_is_that_of_any_new_file(tmp_path):
    (tmp_path / "plain").touch()
    write_atomically(tmp_path / "ours", "")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "ours")]
    assert modes[0] == modes[1]


def test_a_long_name(tmp_path):
    write_atomically(tmp_path / ("é" * 120), "x")
    assert entries(tmp_path) == ["é" * 120]


def test_a_missing_folder_names_the_file_that_was_asked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_atomically(tmp_path / "none" / "a.json", "x")
    assert caught.value.filename == str(tmp_path / "none" / "a.json")


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "a.json", "x")
    assert entries(tmp_path) == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path, monkeypatch, step):
    file = tmp_path / "a.json"
    write_atomically(file, "old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match=r"No space left on device.*a\.json"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert entries(tmp_path) == ["a.json"]


WRITER = """
import itertools, sys
from mupwd.files import read_file, read_json, write_atomically
for n in itertools.count():
    write_atomically(sys.argv[1], str(n % 10) * 300_000)
    if n == 3:
        print("writing", flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    file = tmp_path / "a.json"
    for delay in (0.0, 0.003, 0.011):
        with subprocess.Popen([sys.executable, "-c", WRITER, str(file)], stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"writing\n"
            time.sleep(delay)
            process.send_signal(signal.SIGKILL)
        content = file.read_text()
        assert len(content) == 300_000
        assert len(set(content)) == 1


def test_a_device_is_written_to_and_not_replaced(tmp_path):
    # Not the system's own: where that is replaced, every program of the machine is hit.
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        with open(full, "wb"):
            pass
    except PermissionError:
        pytest.skip("devices cannot be made here")
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(full, "x")
    (tmp_path / "link").symlink_to(full)
    with pytest.raises(OSError, match="No space left on device"):
        write_atomically(tmp_path / "link", "x")
    assert stat.S_ISCHR(full.stat().st_mode)
    assert entries(tmp_path) == ["full", "link"]


def test_a_pipe_is_written_to(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomically(tmp_path / "pipe", "through it")
    assert os.read(reader, 100) == b"through it"
    os.close(reader)
    assert entries(tmp_path) == ["pipe"]


def test_messages_name_one_file_and_what_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no folder '.*none' to write it to") as caught:
        write_atomically(tmp_path / "none" / "a.json", "x")
    assert str(caught.value).endswith("a.json'")
    with pytest.raises(IsADirectoryError):
        write_atomically("/", "x")


def test_links_that_lead_nowhere_or_in_a_circle(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        write_atomically(tmp_path / "one", "x")
    (tmp_path / "dangling").symlink_to("later")
    write_atomically(tmp_path / "dangling", "x")
    assert (tmp_path / "later").read_text() == "x"
    assert entries(tmp_path) == ["dangling", "later", "one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "Expecting value"),
        (b"\0" * 400, "Expecting value"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8: .* can't decode byte"),
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "can't decode byte"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' is there twice"),
        (b'{"a": NaN}', "NaN is no number"),
        (b'{"a": [-Infinity]}', "-Infinity is no number"),
        (b'{"a": 1e400}', "the number 1e400 is too large"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "integer string conversion"),
    ],
)
def test_what_no_writer_of_ours_leaves_is_no_json(tmp_path, content, message):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_json(tmp_path / "a.json")


def test_every_beginning_of_a_file_is_refused(tmp_path):
    whole = b'{"a": [1, 2.5, "\xcf\x83"], "b": {"c": null}}'
    (tmp_path / "a.json").write_bytes(whole)
    assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, "σ"], "b": {"c": None}}
    for size in range(len(whole)):
        (tmp_path / "a.json").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"."):
            read_json(tmp_path / "a.json")


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link", "/dev/zero"):
        with pytest.raises(OSError, match="neither a file nor a link to one"):
            read_file(tmp_path / name)
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        read_file(tmp_path)
    with pytest.raises(FileNotFoundError, match="none"):
        read_json(tmp_path / "none")
