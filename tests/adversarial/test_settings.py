"""What settings of the process must not change."""

import ast
from pathlib import Path

import mupwd


def test_asserts_only_tell_the_type_checker():
    """`python -O` takes them away: none may check anything that a user can bring about."""
    checks = []
    for file in Path(mupwd.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assert):
                what = ast.unparse(node.test)
                if node.msg is not None or not what.endswith(" is not None"):
                    checks.append(f"{file.name}:{node.lineno}: {what}")
    assert not checks
