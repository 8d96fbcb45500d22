"""The messages of mupwd's errors and warnings, read from its source.

A site is an expression that makes an exception, ends a command, or warns. Its message is a template: the literal text,
and holes for what is put in when it is raised. Text that another expression of the package contributes is followed
there where that takes one step: a constant of a module, an assignment in the same function, what a function returns.
"""

import ast
import builtins
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOLE = "…"
COMMAND, WARNING, PART = "command", "warning", "part"

# The reasons of a refusal are words in variables of these names, until one place makes an error of them.
_REASONS = ("problem", "reason")
_WITH_REASONS = "mupwd/tracing/"

Template = tuple[str | None, ...]
"""Literal text, and None for each hole."""


@dataclasses.dataclass(frozen=True, order=True)
class Site:
    """One message.

    Args:
      module: path from the checkout.
      kind: name of the exception's class; or that it ends a command, is a warning, or is a part of other messages.
      text: the template, "…" in its holes.
      template: its pieces.
    """

    module: str
    kind: str
    text: str
    template: Template = dataclasses.field(compare=False)

    @property
    def key(self) -> str:
        """What it is known by in its module."""
        return f"{self.kind}: {self.text}"

    def matches(self, message: str) -> bool:
        """Whether a message is made of this template; of a part, whether it holds one that is."""
        if self.kind == PART:
            return self.within(message)
        return re.fullmatch(self._pattern, message, re.DOTALL) is not None

    def within(self, text: str) -> bool:
        """Whether a text holds a message that is made of this template."""
        return re.search(self._pattern, text, re.DOTALL) is not None

    @property
    def _pattern(self) -> str:
        return ".*".join(map(re.escape, _literals(self.template)))

    @property
    def weight(self) -> int:
        """How much of it is literal: of several templates that match, the one with the most is meant."""
        return sum(len(piece) for piece in self.template if piece)


def sites(root: Path = ROOT) -> list[Site]:
    """Returns every message of the package, each once per module.

    Args:
      root: of the checkout.
    """
    files = {file.relative_to(root).as_posix(): file for file in sorted((root / "mupwd").rglob("*.py"))}
    trees = {name: ast.parse(file.read_text(encoding="utf-8")) for name, file in files.items()}
    constants = {name: _constants(tree) for name, tree in trees.items()}
    functions = {name: {node.name: node for node in _functions(tree)} for name, tree in trees.items()}
    everywhere = {name: node for own in functions.values() for name, node in own.items()}
    found = {
        site
        for name, tree in trees.items()
        for site in _sites_of(
            name, tree, {**everywhere, **functions[name]}, _known(tree, constants[name], constants)
        )
    }
    return sorted(found)


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Texts that have a name in a module."""
    named = [node for node in tree.body if isinstance(node, ast.Assign) and _is_text(node.value)]
    return {
        target.id: node.value for node in named for target in node.targets if isinstance(target, ast.Name)
    }


def _known(
    tree: ast.Module, own: dict[str, ast.expr], others: dict[str, dict[str, ast.expr]]
) -> dict[str, ast.expr]:
    """The texts that have a name in a module or are imported by it."""
    imported = {
        alias.asname or alias.name: text
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
        if (text := others.get(node.module.replace(".", "/") + ".py", {}).get(alias.name)) is not None
    }
    return {**imported, **own}


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _sites_of(
    module: str, tree: ast.Module, functions: Mapping[str, ast.AST], constants: dict[str, ast.expr]
) -> Iterator[Site]:
    for scope in [tree, *_functions(tree)]:
        reader = _Reader(scope, functions, constants)
        for node in _own(scope):
            for kind, expression in _messages(module, node):
                for template in reader.templates(expression):
                    text = "".join(HOLE if piece is None else piece for piece in template)
                    # Without a word of its own it hands on what another site says.
                    if re.search(r"[a-z]{2}", text):
                        yield Site(module, kind, text, template)


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function without those of functions in it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node
            yield from _own(node)


def _messages(module: str, node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """The messages that one node begins: what each is, and the expression of its text."""
    if isinstance(node, ast.Call) and node.args:
        name = ast.unparse(node.func)
        last = name.rpartition(".")[2]
        if name == "logging.warning":
            yield WARNING, node.args[0]
        elif last == "error" and "/commands/" in module:
            yield COMMAND, node.args[0]
        # Python's protocol: names that a module has not, attributes that a leaf need not have.
        elif _is_exception(last) and last != "AttributeError":
            # The system's errors: number, words, file.
            yield last, node.args[1 if len(node.args) > 1 else 0]
    if module.startswith(_WITH_REASONS):
        if isinstance(node, ast.keyword) and node.arg in _REASONS:
            yield PART, node.value
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in _REASONS:
            yield PART, node.value


def _is_exception(name: str) -> bool:
    found = getattr(builtins, name, None)
    return (isinstance(found, type) and issubclass(found, Exception)) or (
        name.endswith("Error") and name[0].isupper()
    )


class _Reader:
    """Reads expressions as templates.

    Args:
      scope: the function that they are in.
      functions: of the package, by name.
      constants: texts that have a name in the module.
    """

    def __init__(
        self, scope: ast.AST, functions: Mapping[str, ast.AST], constants: dict[str, ast.expr]
    ) -> None:
        self.functions, self.constants = functions, constants
        self.assigned: dict[str, list[ast.expr]] = {}
        for node in _own(scope):
            if isinstance(node, ast.Assign | ast.NamedExpr):
                target = node.target if isinstance(node, ast.NamedExpr) else node.targets[0]
                self.assigned.setdefault(ast.unparse(target), []).append(node.value)

    def templates(self, node: ast.expr, depth: int = 0) -> Iterator[Template]:
        """Yields a template for each text that an expression may be."""
        if isinstance(node, ast.IfExp):
            yield from self.templates(node.body, depth)
            yield from self.templates(node.orelse, depth)
        elif isinstance(node, ast.BoolOp):
            for value in node.values:
                yield from self.templates(value, depth)
        elif isinstance(node, ast.Name) and node.id in self.assigned and depth < 2:
            for value in self.assigned[node.id]:
                yield from self.templates(value, depth + 1)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not depth:
            made = self.functions.get(node.func.id)
            if made is not None:
                reader = _Reader(made, self.functions, self.constants)
                for one in _own(made):
                    if isinstance(one, ast.Return) and one.value is not None:
                        yield from reader.templates(one.value, depth + 1)
        else:
            yield tuple(_merged(self.pieces(node)))

    def pieces(self, node: ast.expr) -> Iterator[str | None]:
        """Yields the literal text of one expression, and None for what is not."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            # Holes of the % style: of warnings.
            for index, piece in enumerate(re.split(r"%[sd]", node.value)):
                yield from ([None] if index else [])
                yield piece
        elif isinstance(node, ast.JoinedStr):
            for value in node.values:
                yield from self.pieces(value)
        elif isinstance(node, ast.FormattedValue) and node.conversion == -1 and node.format_spec is None:
            yield from self.pieces(node.value)
        elif isinstance(node, ast.Name) and node.id in self.constants and node.id not in self.assigned:
            yield from self.pieces(self.constants[node.id])
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            yield from self.pieces(node.left)
            yield from self.pieces(node.right)
        else:
            yield None


def _merged(pieces: Iterator[str | None]) -> Iterator[str | None]:
    """Neighbours of one kind as one."""
    text = ""
    hole = False
    for piece in pieces:
        if piece is None:
            if text:
                yield text
            if not hole or text:
                yield None
            text, hole = "", True
        else:
            text += piece
    if text:
        yield text


def _literals(template: Sequence[str | None]) -> Iterator[str]:
    """What stands before, between and after the holes."""
    text = ""
    for piece in template:
        if piece is None:
            yield text
            text = ""
        else:
            text += piece
    yield text
