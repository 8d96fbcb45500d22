"""A real server in a process of its own, asked over real connections."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from mupwd.proxy.metrics_log import FILE_NAME, MetricsLog
from mupwd.report.changes import fingerprint
from mupwd.report.serve import serve

# Shows the last step of each run, and counts how often it was asked; one directory makes it fail.
SCRIPT = r'''
import json, sys
from mupwd.proxy.metrics_log import read_metrics
from mupwd.report.serve import serve

POLICY = "default-src 'none'; script-src 'unsafe-inline'"
PAGE = (
    f'<html><head><meta http-equiv="Content-Security-Policy" content="{POLICY}"></head>'
    "<body><p>made {made}: {steps}</p>{hook}</body></html>"
)
HOOK = """<script>
async function mupwdUpdate(payload) {
  document.querySelector("p").textContent = "updated: " + JSON.stringify(payload.steps);
}
</script>"""
made = 0

def steps(directories):
    return {path.name: [record["step"] for record in read_metrics(path)] for path in directories}

def make_page(directories):
    global made
    made += 1
    if any(path.name == "broken" for path in directories):
        1 / 0
    hook = HOOK if sys.argv[2].endswith("hook") else ""
    return PAGE.format(made=made, steps=json.dumps(steps(directories)), hook=hook)

def make_data(directories):
    return json.dumps({"steps": steps(directories)})

serve(sys.argv[2:], make_page, make_data, port=int(sys.argv[1]))
'''


class Server:
    """The process, and its address."""

    def __init__(self, *directories, port=0):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(port), *map(str, directories)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.fullmatch(r"serving (http://127\.0\.0\.1:(\d+)/) \(Ctrl-C ends it\)\n", line)
        assert found, (line, self.process.communicate())
        self.url, self.port = found[1], int(found[2])

    def get(self, path="", host=None):
        """Returns status, headers and text."""
        request = urllib.request.Request(self.url + path, headers={} if host is None else {"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=60) as response:
                return response.status, response.headers, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers, error.read().decode()

    @contextlib.contextmanager
    def events(self):
        """The versions that the server tells, one after another."""
        with urllib.request.urlopen(self.url + "events", timeout=60) as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            yield (int(line[6:]) for line in response if line.startswith(b"data: "))

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=60)
        return self.process.returncode, errors


def write(directory, *steps):
    directory.mkdir(exist_ok=True)
    with MetricsLog(directory / FILE_NAME) as log:
        for step in steps:
            log.write(step, {"train/loss": 1.0})


@pytest.fixture
def start():
    servers = []

    def starter(*directories, **options):
        servers.append(Server(*directories, **options))
        return servers[-1]

    yield starter
    for server in servers:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A run, and its server."""
    directory = tmp_path_factory.mktemp("runs") / "run"
    write(directory, 1, 2)
    server = Server(directory)
    yield directory, server
    server.process.kill()
    server.process.communicate()


def test_the_page_has_one_more_script_and_is_made_once(served):
    _, server = served
    status, headers, text = server.get()
    version = int(re.search(r'<script data-version="(\d+)">', text)[1])
    page, script, rest = re.fullmatch(r"(.*)(<script data-version=.*</script>)(.*)", text, re.DOTALL).groups()
    policy = "default-src 'none'; script-src 'unsafe-inline'; connect-src 'self'"
    head = f'<html><head><meta http-equiv="Content-Security-Policy" content="{policy}"></head>'
    assert (status, page, rest) == (200, f'{head}<body><p>made 1: {{"run": [1, 2]}}</p>', "</body></html>")
    assert "window.mupwdUpdate" in script
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert server.get()[2] == text
    with server.events() as versions:
        assert next(versions) == version


def test_data_and_nothing_else(served):
    directory, server = served
    status, headers, text = server.get("data")
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert json.loads(text) == {"steps": {"run": [1, 2]}}
    for path in (FILE_NAME, f"../{directory.name}/{FILE_NAME}", "static/live.js", "docs", "openapi.json"):
        assert server.get(path)[0] == 404
    assert server.get("favicon.ico")[0] == 204


@pytest.mark.parametrize("path", ["", "data", "events"])
def test_other_names_of_this_machine_are_refused(served, path):
    _, server = served
    for host in ("example.com", f"example.com:{server.port}", "127.0.0.1.example.com", "", "0.0.0.0"):
        status, _, text = server.get(path, host)
        assert (status, "run" in text) == (400, False)
    if path != "events":
        assert server.get(path, f"localhost:{server.port}")[0] == 200


def test_only_one_address_listens(served):
    _, server = served
    # All of 127.0.0.0/8 is this machine; a server for every address would answer here.
    with (
        pytest.raises(ConnectionRefusedError),
        socket.create_connection(("127.0.0.2", server.port), timeout=10),
    ):
        pass


def test_events_tell_of_every_change_and_of_nothing_else(tmp_path, start):
    run = tmp_path / "sweep" / "run"
    run.parent.mkdir()
    write(run, 1)
    (run / "checkpoints").mkdir()
    server = start(run.parent)
    with server.events() as first, server.events() as second:
        version = next(first)
        assert next(second) == version
        # Neither of these is looked at, so the next event is that of the third.
        (run / "checkpoints" / "state.json").write_text("{}")
        (run / "notes.txt").write_text("nothing")
        assert fingerprint([run.parent]) == version
        write(run, 2)
        later = next(first)
        assert later != version
        assert next(second) == later == fingerprint([run.parent])


def test_directories_that_come_later_are_waited_for(tmp_path, start):
    server = start(tmp_path / "one", tmp_path / "two")
    with server.events() as versions:
        version = next(versions)
        status, _, text = server.get()
        assert status == 503
        assert f"Waiting for {tmp_path / 'one'}, {tmp_path / 'two'}: not there yet." in text
        assert f'<script data-version="{version}">' in text
        assert server.get("data")[0] == 503
        write(tmp_path / "two", 7)
        assert next(versions) != version
    # The directory and its file may have been two changes.
    until = time.monotonic() + 60
    while '{"two": [7]}' not in (text := server.get()[2]) and time.monotonic() < until:
        time.sleep(0.1)
    assert '{"two": [7]}' in text
    code, errors = server.stop()
    assert code == 0
    for name in ("one", "two"):
        assert f"notice: {tmp_path / name} is not there yet; it is shown once it is\n" in errors


def test_errors_are_shown_as_text_and_go_away(tmp_path, start):
    evil = tmp_path / "<script>alert(1)<script>"
    write(evil, 1)
    with open(evil / FILE_NAME, "a") as log:
        log.write("garbage\n")
    server = start(evil)
    status, headers, text = server.get()
    assert (status, headers["Content-Type"]) == (503, "text/html; charset=utf-8")
    assert "&lt;script&gt;alert(1)&lt;script&gt;/metrics.jsonl:2: not a record" in text
    assert text.count("<script") == 1
    assert "Traceback" not in text
    status, headers, text = server.get("data")
    assert (status, headers["Content-Type"]) == (503, "text/plain; charset=utf-8")
    with server.events() as versions:
        version = next(versions)
        (evil / FILE_NAME).write_text('{"step": 5}\n')
        assert next(versions) != version
    assert server.get()[0] == server.get("data")[0] == 200
    (tmp_path / "broken").mkdir()
    assert "ZeroDivisionError" in start(tmp_path / "broken").get()[2]


def test_a_browser_follows_the_run_without_loading_the_page_again(tmp_path, start, browser):
    run = tmp_path / "hook"
    write(run, 1)
    server = start(run)
    page, complaints = browser.new_page(), []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(server.url + "#width=64")
    page.evaluate("window.mine = true")
    assert page.text_content("p") == 'made 1: {"hook": [1]}'
    for steps in ((2,), (3, 4)):
        write(run, *steps)
        told = ",".join(map(str, range(1, steps[-1] + 1)))
        page.get_by_text(f'updated: {{"hook":[{told}]}}').wait_for()
    assert page.evaluate("window.mine") is True
    assert complaints == []
    # What is wrong is shown, and goes away.
    with open(run / FILE_NAME, "a") as log:
        log.write("garbage\n")
    page.get_by_text("metrics.jsonl:5: not a record").wait_for()
    (run / FILE_NAME).write_text('{"step": 5}\n')
    page.get_by_text("[5]").wait_for()
    assert page.url == server.url + "#width=64"
    page.close()


def test_a_browser_loads_a_page_without_the_hook_again(tmp_path, start, browser):
    server = start(tmp_path / "run")
    page = browser.new_page()
    page.goto(server.url)
    assert page.text_content("body").startswith("Waiting for")
    write(tmp_path / "run", 1)
    page.get_by_text("[1]").wait_for()
    write(tmp_path / "run", 2)
    page.get_by_text("[1, 2]").wait_for()
    page.close()


def test_ctrl_c_ends_it_while_a_browser_listens(tmp_path, start):
    write(tmp_path / "run", 1)
    server = start(tmp_path / "run")
    with server.events() as versions:
        next(versions)
        assert server.stop() == (0, "")
        assert list(versions) == []
    # At once again, at the same port.
    assert start(tmp_path / "run", port=server.port).get()[0] == 200


@pytest.mark.parametrize("port", [-1, 65536, "80", True])
def test_what_is_not_a_port(tmp_path, port):
    with pytest.raises(ValueError, match=r"port must be a number from 0 to 65535, got"):
        serve([tmp_path], lambda _: "", lambda _: "", port=port)


def test_a_port_that_is_taken(served):
    directory, server = served
    with pytest.raises(OSError, match=rf"^port {server.port} is taken by another program; give another one"):
        serve([directory], lambda _: "", lambda _: "", port=server.port)


def test_nothing_to_serve():
    with pytest.raises(ValueError, match="give the directory of a run"):
        serve([], lambda _: "", lambda _: "")


def test_fingerprints(tmp_path):
    log = tmp_path / FILE_NAME
    seen = {fingerprint([tmp_path]), fingerprint([tmp_path / "missing"]), fingerprint([log])}
    log.write_text("1")
    seen |= {fingerprint([tmp_path]), fingerprint([log])}
    os.utime(log, ns=(0, 0))
    seen |= {fingerprint([tmp_path])}
    log.rename(Path(f"{log}.json"))
    seen |= {fingerprint([tmp_path])}
    assert len(seen) == 7
    assert max(seen) < 2**53


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(
        ModuleNotFoundError, match=r"a live report needs uvicorn: pip install 'mupwd\[serve\]'"
    ):
        serve([tmp_path], lambda _: "", lambda _: "")
