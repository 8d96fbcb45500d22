"""Every example in a docstring runs and prints what it says, and every public name has one."""

import doctest
import importlib
import inspect
import pkgutil

import jax
import pytest

import mupwd

# Their examples would need packages or servers that the tests do without.
WITHOUT = ("mupwd.proxy.corpus_stream", "mupwd.proxy.tokens_bpe")
MODULES = sorted(
    info.name
    for info in pkgutil.walk_packages(mupwd.__path__, "mupwd.")
    if info.name not in WITHOUT and not info.name.endswith("__main__")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # an example may write a file
    module = importlib.import_module(name)
    # As users have it, who have not asked for strictness.
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        failed, _ = doctest.testmod(module)
    assert failed == 0


def public():
    for name in mupwd.__all__:
        thing = getattr(mupwd, name)
        if inspect.isclass(thing) and not issubclass(thing, Exception):
            for method, function in inspect.getmembers(thing, inspect.isfunction):
                if not method.startswith("_") and function.__module__.startswith("mupwd"):
                    yield f"{name}.{method}", function
        elif not inspect.isclass(thing):
            yield name, thing


@pytest.mark.parametrize(
    ("name", "thing"), list(public()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_public_functions_have_a_runnable_example(name, thing):
    text = inspect.getdoc(thing) or ""
    assert ">>>" in text
    assert "Args:" in text or len(inspect.signature(thing).parameters) <= 1
    first = text.partition("\n")[0]
    assert first.endswith(".")
    assert len(first) < 110


def test_every_public_function_and_class_of_the_packages_has_an_example():
    packages = [importlib.import_module(name) for name in MODULES if name.count(".") == 1]
    things = {
        f"{package.__name__}.{name}": getattr(package, name)
        for package in packages
        for name in getattr(package, "__all__", ())
    }
    assert "mupwd.transfer.scorecard" in things
    without = [
        name
        for name, thing in things.items()
        if (inspect.isclass(thing) or inspect.isfunction(thing))
        and ">>>" not in (inspect.getdoc(thing) or "")
    ]
    assert without == []


def test_there_are_examples_in_every_layer():
    finder = doctest.DocTestFinder(exclude_empty=True)
    layers = {
        name.split(".")[1]
        for name in MODULES
        if any(test.examples for test in finder.find(importlib.import_module(name)))
    }
    assert layers >= {"paths", "files", "tracing", "recipes", "plan", "family", "optim", "forward"}
