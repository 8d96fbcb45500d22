"""The command as a person meets it: in a real process."""

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
