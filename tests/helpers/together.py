"""Processes that begin the same work at the same moment."""

import subprocess
import sys

_START = "print('ready', flush=True); sys.stdin.readline()\n"


def together(count, imports, work, *arguments):
    """Runs a program in several processes, once all have imported what it needs; returns what each prints.

    Args:
      count: of processes.
      imports: the program's first lines, without `import sys`.
      work: the rest of it.
      arguments: of all; the number of the process comes last.
    """
    code = f"import sys\n{imports}{_START}{work}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(count)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    printed = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * count
    return printed
