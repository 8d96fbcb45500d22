"""One canonical name per parameter, for nnx, linen, equinox, haiku and plain trees.

The same model state reaches us in several wrappings: `nnx.Optimizer` gives `tx.init` a tree of `Param` nodes
and `tx.update` a tree of bare arrays, linen nests everything under a collection, haiku puts slashes into its
keys. A name that is equal in all of them is what lets multipliers live outside the parameters.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import jax
from jax.tree_util import DictKey, GetAttrKey, KeyPath, keystr

_LINEN_COLLECTION = "params"
# Control characters (newlines, a terminal's codes), invisible ones, halves of surrogate pairs, line separators: in a
# name they would break a table, recolour a terminal or make two names look like one.
_UNSEEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
_REGULAR = re.compile(r"[\\.^$*+?{}\[\]|()]")


def path_name(key_path: KeyPath) -> str:
    """Returns the canonical name of a leaf: its keys joined by "/".

    A trailing `.value` attribute (an nnx `Variable`'s array) and a leading "params" (a linen collection) are
    dropped; "/" and "%" inside a key become "%2F" and "%25", so that names stay unique, and likewise what cannot be
    seen (newlines, terminal codes).

    Args:
      key_path: the path that `jax.tree_util.tree_flatten_with_path` gives for the leaf.

    Returns:
      The name, such as `"layers/0/mlp/up/kernel"`.

    Example:
      >>> import jax
      >>> tree = {"params": {"mlp/~/linear": {"w": 0}}}
      >>> [(path, _)] = jax.tree_util.tree_flatten_with_path(tree)[0]
      >>> path_name(path)
      'mlp%2F~%2Flinear/w'
    """
    keys = list(key_path)
    if keys and isinstance(keys[-1], GetAttrKey) and keys[-1].name == "value":
        keys.pop()
    # As an attribute too: nnx gives a submodule of that name as DictKey in a State, as GetAttrKey in the module.
    if len(keys) > 1 and keys[0] in (DictKey(_LINEN_COLLECTION), GetAttrKey(_LINEN_COLLECTION)):
        keys.pop(0)
    return "/".join(_escaped(keystr((key,), simple=True)) for key in keys)


def _escaped(key: str) -> str:
    key = key.replace("%", "%25").replace("/", "%2F")
    if key.isprintable():
        return key
    return "".join(
        quote(one, safe="", errors="surrogatepass") if unicodedata.category(one) in _UNSEEN else one
        for one in key
    )


def pattern_of(name: str) -> str:
    r"""Returns a regular expression that matches that name alone, for messages that say what to write.

    Args:
      name: canonical.

    Example:
      >>> print(pattern_of("layers/0/mlp-up"), pattern_of("gate.up[0]"))
      layers/0/mlp-up gate\.up\[0\]
    """
    return re.escape(name) if _REGULAR.search(name) else name


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns `{canonical name: leaf}` in the tree's own order.

    Args:
      tree: any pytree.

    Raises:
      ValueError: two leaves have the same name.

    Example:
      >>> named_leaves({"up": {"kernel": 1, "bias": 2}})
      {'up/bias': 2, 'up/kernel': 1}
    """
    leaves: dict[str, Any] = {}
    for key_path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        name = path_name(key_path)
        if name in leaves:
            raise ValueError(
                f"two leaves of the tree are both named {name!r}; rename one of the keys (a top-level "
                f"{_LINEN_COLLECTION!r} is read as linen's collection and dropped from names)"
            )
        leaves[name] = leaf
    return leaves


def map_named(fn: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """Maps `fn(name, leaf, *leaves_of_rest)` over a tree, with canonical names.

    Args:
      fn: called once per leaf of `tree`.
      tree: any pytree.
      *rest: trees of which `tree` is a prefix.

    Returns:
      A tree of `tree`'s structure.

    Example:
      >>> map_named(lambda name, x: f"{name}={x}", {"a": 1})
      {'a': 'a=1'}
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf, *others: fn(path_name(path), leaf, *others), tree, *rest
    )
