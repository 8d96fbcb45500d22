"""Layers that are named by index: which names differ only in a layer's number, and how many there are."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# An escaped character inside a key holds a digit that is no index, and so is a number that nobody counts to.
_NUMBER = re.compile(r"%[0-9A-F]{2}|[0-9]{10,}|([0-9]+)")


class Index(NamedTuple):
    """One number in a path: the text before it (the layers' container), its value, the text after it."""

    container: str
    number: int
    rest: str


def indices(path: str) -> Iterator[Index]:
    """Yields every number in a path, from the left.

    Example:
      >>> list(indices("layers/7/mlp/up"))
      [Index(container='layers/', number=7, rest='/mlp/up')]
    """
    for found in _NUMBER.finditer(path):
        if found[1]:
            yield Index(path[: found.start()], int(found[1]), path[found.end() :])


def shown(path: str) -> str:
    """Returns the path as people read it: the empty one, of an array that is the whole tree, in quotes."""
    return path or '""'


def starred(path: str) -> str:
    """Returns the path with every layer index replaced by "*".

    The number of a name like "w1" at the end of a path tells apart two parameters of one layer, and stays.

    Example:
      >>> starred("layers/7/mlp/w1"), starred("block_7%2Flinear/w")
      ('layers/*/mlp/w1', 'block_*%2Flinear/w')
    """
    last = path.rfind("/") + 1

    def star(found: re.Match[str]) -> str:
        before = path[found.start() - 1 : found.start()]
        named = before.isalpha() and found.start() >= last
        return "*" if found[1] and not named else found[0]

    return _NUMBER.sub(star, path)


def containers(paths: Iterable[str]) -> dict[str, set[int]]:
    """Returns the layer numbers below each container.

    Haiku names a first layer "block" and the next ones "block_1", "block_2": such a first one counts as 0.

    Example:
      >>> containers(["layers/0/w", "layers/1/w"])
      {'layers/': {0, 1}}
    """
    paths = list(paths)
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    for path in paths:
        for index in indices(path):
            numbers[index.container].add(index.number)
    unnumbered = {path[: cut.start()] for path in paths for cut in re.finditer(r"/|%2F|$", path)}
    for container in numbers:
        if container.endswith("_") and container[:-1] in unnumbered:
            numbers[container].add(0)
    return dict(numbers)
