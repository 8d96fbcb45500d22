"""The shared battery: an optimizer factory of ours in every framework, inside everything that wraps one.

A test module says which factory, its arguments and its NumPy reference; each check trains a toy for a few
steps and compares all parameters with the reference's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import mupwd.optim
from helpers.reference import Arrays, clipped
from helpers.toys import Loop, Toy, batches, tree_from_names
from mupwd.paths import map_named, named_leaves
from mupwd.plan import Plan

STEPS = 4


class Reference(Protocol):
    arguments: dict[str, Any]

    def step(self, params: Arrays, gradients: Arrays) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Subject:
    """What the battery is run on.

    Attributes:
      factory: `factory(plan=plan, **arguments)` makes the transform.
      arguments: numbers, with "learning_rate" among them.
      reference: `reference(plan, **arguments)`.
      tolerance: largest difference to the reference, relative to a parameter's largest entry.
    """

    factory: Callable[..., optax.GradientTransformation]
    arguments: dict[str, float]
    reference: Callable[..., Reference]
    tolerance: float = 1e-5

    def make(self, plan: Plan) -> optax.GradientTransformation:
        return self.factory(plan=plan, **self.arguments)


def expected(
    toy: Toy,
    reference: Reference,
    data: list[Any],
    *,
    transform: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = dict,
    learns: Callable[[str], bool] = lambda name: True,
    before_step: Callable[[int], None] = lambda index: None,
) -> dict[str, np.ndarray]:
    """The parameters after a step of the reference on each batch."""
    named = {name: np.asarray(x, np.float64) for name, x in named_leaves(toy.params).items()}
    gradient = jax.jit(jax.grad(toy.loss))
    for index, batch in enumerate(data):
        before_step(index)
        tree = gradient(tree_from_names(toy.params, named), batch)
        gradients = {name: np.asarray(g, np.float64) for name, g in named_leaves(tree).items()}
        moved = reference.step(named, transform(gradients))
        named = {name: moved[name] if learns(name) else w for name, w in named.items()}
    return named


def assert_close(actual: Arrays, wanted: Arrays, tolerance: float) -> None:
    assert actual.keys() == wanted.keys()
    for name, w in wanted.items():
        difference = np.max(np.abs(actual[name] - w)) / np.max(np.abs(w))
        assert difference <= tolerance, f"{name}: off by {difference:.2e}"


def run(loop: Loop, data: list[Any]) -> dict[str, np.ndarray]:
    for batch in data:
        loop.step(batch)
    return loop.parameters()


def jit_with_donation(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data = toy.plan(), batches(STEPS)
    loop = toy.loop(subject.make(plan))
    loop.step(data[0])
    before = jax.tree.leaves(loop.tree)
    actual = run(loop, data[1:])
    assert all(x.is_deleted() for x in before), "a buffer of the state before the step outlived its donation"
    assert_close(actual, expected(toy, subject.reference(plan, **subject.arguments), data), subject.tolerance)


def partition(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data = toy.plan(), batches(STEPS)

    def labels(params: Any) -> Any:
        return map_named(lambda name, leaf: "readout" if "readout" in name else "rest", params)

    tx = optax.partition({"readout": subject.make(plan), "rest": subject.make(plan)}, labels)
    wanted = expected(toy, subject.reference(plan, **subject.arguments), data)
    assert_close(run(toy.loop(tx), data), wanted, subject.tolerance)


def masked(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data = toy.plan(), batches(STEPS)

    def learns(name: str) -> bool:
        return "hidden" not in name

    tx = optax.chain(
        optax.masked(subject.make(plan), lambda params: map_named(lambda name, _: learns(name), params)),
        optax.masked(optax.set_to_zero(), lambda params: map_named(lambda name, _: not learns(name), params)),
    )
    wanted = expected(toy, subject.reference(plan, **subject.arguments), data, learns=learns)
    assert_close(run(toy.loop(tx), data), wanted, subject.tolerance)


def multi_steps(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data = toy.plan(), batches(STEPS)
    halves = [(x[half], y[half]) for x, y in data for half in (slice(None, None, 2), slice(1, None, 2))]
    tx = optax.MultiSteps(subject.make(plan), every_k_schedule=2).gradient_transformation()
    wanted = expected(toy, subject.reference(plan, **subject.arguments), data)
    # MultiSteps divides by its int32 count of steps, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        actual = run(toy.loop(tx), halves)
    assert_close(actual, wanted, subject.tolerance)


def inject_hyperparams(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data = toy.plan(), batches(STEPS)
    loop = toy.loop(optax.inject_hyperparams(subject.factory)(plan=plan, **subject.arguments))
    later = subject.arguments["learning_rate"] / 3
    reference = subject.reference(plan, **subject.arguments)

    def change(index: int) -> None:
        if index == 2:
            reference.arguments["learning_rate"] = later

    run(loop, data[:2])
    is_rate = "hyperparams/learning_rate"
    loop.tree = map_named(lambda name, x: np.full_like(x, later) if is_rate in name else x, loop.tree)
    actual = run(loop, data[2:])
    assert_close(actual, expected(toy, reference, data, before_step=change), subject.tolerance)


def chain(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data, max_norm = toy.plan(), batches(STEPS), 0.05
    tx = optax.chain(mupwd.optim.clip_by_global_norm(max_norm, plan), subject.make(plan))
    reference = subject.reference(plan, **subject.arguments)
    seen: list[bool] = []

    def clip(gradients: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        small = clipped(gradients, plan, max_norm)
        seen.append(any(np.any(small[name] != g) for name, g in gradients.items()))
        return small

    wanted = expected(toy, reference, data, transform=clip)
    assert all(seen), "the threshold is to be low enough to clip"
    assert_close(run(toy.loop(tx), data), wanted, subject.tolerance)


def checkpoint(toy: Toy, subject: Subject, directory: Path) -> None:
    import orbax.checkpoint as ocp

    plan, data = toy.plan(), batches(STEPS)
    first = toy.loop(subject.make(plan))
    run(first, data[:2])
    resumed = toy.loop(subject.make(plan))
    # By name: orbax stores dictionaries, and not every framework's own nodes.
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(directory / "state", named_leaves(first.tree))
        checkpointer.wait_until_finished()
        stored = checkpointer.restore(directory / "state", named_leaves(resumed.tree))
    resumed.tree = map_named(lambda name, x: stored[name], resumed.tree)
    wanted = expected(toy, subject.reference(plan, **subject.arguments), data)
    assert_close(run(resumed, data[2:]), wanted, subject.tolerance)


def sharded(toy: Toy, subject: Subject, directory: Path) -> None:
    plan, data = toy.plan(), batches(STEPS)
    mesh = Mesh(np.asarray(jax.devices()).reshape(4, 2), ("data", "model"))
    loop = toy.loop(subject.make(plan))

    def place(name: str, x: Any) -> Any:
        # Hidden kernels are split both ways; so are their moments, which have the same name in the state.
        whole = np.ndim(x) != 2 or "hidden" not in name
        return jax.device_put(
            x, NamedSharding(mesh, PartitionSpec() if whole else PartitionSpec("data", "model"))
        )

    loop.tree = map_named(place, loop.tree)
    split = jax.device_put(data, NamedSharding(mesh, PartitionSpec("data")))
    actual = run(loop, split)
    for name, x in named_leaves(loop.tree).items():
        if np.ndim(x) == 2 and "hidden" in name:
            assert {s.data.shape for s in x.addressable_shards} == {(x.shape[0] // 4, x.shape[1] // 2)}, name
    wanted = expected(toy, subject.reference(plan, **subject.arguments), data)
    assert_close(actual, wanted, subject.tolerance)


CHECKS = {
    check.__name__: check
    for check in (
        jit_with_donation,
        partition,
        masked,
        multi_steps,
        inject_hyperparams,
        chain,
        checkpoint,
        sharded,
    )
}
