"""The command as a person meets it: in a real process."""

import io
import platform
import subprocess
import sys

import jax
import pytest

from mupwd.commands.main import main


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "mupwd.commands.main", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_help_lists_the_commands_and_shows_examples(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "examples:" in out
    for command in ("demo", "plan"):
        assert f"    {command} " in out


def test_version_tells_what_a_report_of_an_error_needs(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    told = dict(line.split(" ", 1) for line in capsys.readouterr().out.splitlines())
    assert told["jax"] == jax.__version__
    assert told["python"] == platform.python_version()
    assert told["device"].startswith(f"{jax.device_count()} × ")
    assert {"mupwd", "jaxlib", "optax", "flax"} <= told.keys()


@pytest.mark.parametrize("command", ["demo", "plan"])
def test_every_command_teaches(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert f"mupwd {command} " in out.split("examples:")[1]
    assert "coupled" in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom mupwd.commands.main import main\n"
        "try:\n    main(['demo', '--help'])\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('flax', 'matplotlib', 'orbax', 'rich', 'mupwd.proxy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["demos"], "invalid choice: 'demos'"),
        (["plan", "--bas", "32"], "the following arguments are required: --base, --width"),
        (["demo", "--ste", "3"], "unrecognized arguments: --ste 3"),
    ],
)
def test_a_typing_error_is_a_short_message(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_errors_are_messages_with_exit_code_2():
    done = run("plan", "--base", "32", "--width", "64")
    assert done.returncode == 2
    assert done.stderr == "mupwd plan: error: give either a model as package.module:build or --preset\n"


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m mupwd.commands.main plan --preset llama --base 64 --width 128 | head -1"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False
    )
    assert done.stdout.startswith("recipe mupwd, width 64 → 128")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["swep", "runs/a"], "did you mean 'sweep'?"),
        (
            ["plan", "--base", "8", "--width", "16", "--learning-rate", "1", "--recpie=sp"],
            "did you mean --learning_rate and --recipe?",
        ),
        (["sweep", "runs/a", "--weight-decays", "1"], "did you mean --weight_decays?"),
    ],
)
def test_what_is_spelt_alike_is_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert capsys.readouterr().err.strip().endswith(message)


PRINTS = ["plan", "--preset", "llama", "--base", "64", "--width", "128"]


# In the locale "C", Python opens both with surrogateescape.
@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_an_encoding_without_arrows_is_given_escapes(monkeypatch, encoding, errors):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding, errors))
    assert main(PRINTS) == 0
    assert sys.stdout.buffer.getvalue().startswith(b"recipe mupwd, width 64 \\u2192 128")


def test_output_that_goes_nowhere_is_an_error(monkeypatch, capsys):
    full = open("/dev/full", "w")  # noqa: SIM115 - closing it raises too
    monkeypatch.setattr(sys, "stdout", full)
    assert main(PRINTS) == 2
    with pytest.raises(OSError, match="No space left"):
        full.close()
    assert capsys.readouterr().err == "mupwd plan: error: [Errno 28] No space left on device\n"


def test_a_closed_stdout_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert main(PRINTS) == 0


def test_an_error_of_a_library_keeps_its_traceback(monkeypatch):
    # Its message says nothing of where it comes from.
    monkeypatch.setattr("mupwd.commands.plan._preset", lambda args: int("no number"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(PRINTS)


@pytest.mark.parametrize(
    ("place", "message"),
    [("none/a.json", "there is no folder "), ("", "Is a directory"), ("a.json/b.json", "Not a directory")],
)
def test_a_plan_that_cannot_be_saved_names_the_file(tmp_path, capsys, place, message):
    (tmp_path / "a.json").touch()
    assert main([*PRINTS, "--save", str(tmp_path / place)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"mupwd plan: error: {tmp_path / place}")
    assert message in error
    assert "Errno" not in error
