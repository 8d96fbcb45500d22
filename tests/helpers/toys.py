"""One small network, written in each framework, and the loops in which its users train it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.training.train_state import TrainState

from mupwd.paths import map_named, named_leaves
from mupwd.plan import Plan, make_plan
from mupwd.tracing.roles import Parameter

INPUTS, OUTPUTS, BASE, TARGET, BATCH = 6, 4, 8, 32, 16


def batches(count: int, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(seed)
    return [
        (
            random.normal(size=(BATCH, INPUTS)).astype(np.float32),
            random.normal(size=(BATCH, OUTPUTS)).astype(np.float32),
        )
        for _ in range(count)
    ]


def square_error(y: jax.Array, target: jax.Array) -> jax.Array:
    return jnp.mean((y - target) ** 2)


class Loop(Protocol):
    """A training loop; `tree` is everything that a checkpoint of it holds."""

    tree: Any

    def step(self, batch: Any) -> None: ...

    def parameters(self) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class Toy:
    """`up → tanh → hidden → tanh → readout`, in one framework.

    Attributes:
      params: as `tx.init` gets them.
      loss: `loss(params, batch)`, pure.
      loop: `loop(tx)` starts the framework's own way to train.
      roles: substring of a parameter's name → its role and what its axes do.
    """

    name: str
    params: Any
    base_shapes: dict[str, tuple[int, ...]]
    loss: Callable[[Any, Any], jax.Array]
    loop: Callable[[optax.GradientTransformation], Loop]
    roles: dict[str, tuple[str, tuple[str, ...]]] = field(repr=False)

    def plan(
        self, recipe: str = "mupwd", form: str = "folded", at_base: bool = False, **ratios: float
    ) -> Plan:
        shapes = self.base_shapes if at_base else {n: x.shape for n, x in named_leaves(self.params).items()}
        parameters = {}
        for name, base in self.base_shapes.items():
            [(role, axes)] = [entry for part, entry in self.roles.items() if part in name]
            target = named_leaves(self.params)[name].shape
            growing = tuple(a != b for a, b in zip(base, target, strict=True))
            parameters[name] = Parameter(name, role, base, "float32", axes, growing)
        return make_plan(
            parameters,
            shapes,
            recipe=recipe,
            form=form,
            base=BASE,
            width=BASE if at_base else TARGET,
            **{"depth_ratio": 1.0, "batch_ratio": 1.0, "token_ratio": 1.0, **ratios},
        )


_IN_OUT = {
    "up/kernel": ("input", ("in", "out")),
    "up/bias": ("vector", ("elementwise",)),
    "hidden/kernel": ("matrix", ("in", "out")),
    "readout/kernel": ("output", ("in", "out")),
}


class _Functional:
    """A jitted step over (params, opt_state) that donates both."""

    def __init__(self, params: Any, loss: Callable[..., jax.Array], tx: optax.GradientTransformation):
        # A copy, since donation deletes what it is given and every test starts from the same parameters.
        self.tree = (jax.tree.map(jnp.copy, params), tx.init(params))

        def step(tree: Any, batch: Any) -> Any:
            params, state = tree
            gradients = jax.grad(loss)(params, batch)
            updates, state = tx.update(gradients, state, params)
            return optax.apply_updates(params, updates), state

        self._step = jax.jit(step, donate_argnums=0)

    def step(self, batch: Any) -> None:
        self.tree = self._step(self.tree, batch)

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(x) for name, x in named_leaves(self.tree[0]).items()}


def plain(width: int = TARGET) -> Toy:
    def init(width: int) -> Any:
        keys = jax.random.split(jax.random.key(0), 3)

        def kernel(key: jax.Array, fan_in: int, fan_out: int) -> jax.Array:
            return jax.random.normal(key, (fan_in, fan_out)) / fan_in**0.5

        return {
            "up": {"kernel": kernel(keys[0], INPUTS, width), "bias": jnp.full((width,), 0.1)},
            "hidden": {"kernel": kernel(keys[1], width, width)},
            "readout": {"kernel": kernel(keys[2], width, OUTPUTS)},
        }

    def loss(params: Any, batch: Any) -> jax.Array:
        x, target = batch
        x = jnp.tanh(x @ params["up"]["kernel"] + params["up"]["bias"][None, :])
        x = jnp.tanh(x @ params["hidden"]["kernel"])
        return square_error(x @ params["readout"]["kernel"], target)

    params = init(width)
    return Toy("plain", params, _shapes(init(BASE)), loss, lambda tx: _Functional(params, loss, tx), _IN_OUT)


class _NnxModel(nnx.Module):
    def __init__(self, width: int, rngs: nnx.Rngs):
        bias = nnx.initializers.constant(0.1)
        self.up = nnx.Linear(INPUTS, width, bias_init=bias, rngs=rngs)
        self.hidden = nnx.Linear(width, width, use_bias=False, rngs=rngs)
        self.readout = nnx.Linear(width, OUTPUTS, use_bias=False, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(jnp.tanh(self.hidden(jnp.tanh(self.up(x)))))


class _NnxLoop:
    def __init__(self, model: nnx.Module, tx: optax.GradientTransformation):
        self._model = model
        self._optimizer = nnx.Optimizer(self._model, tx, wrt=nnx.Param)

        def step(model: Any, optimizer: Any, batch: Any) -> None:
            gradients = nnx.grad(lambda m: square_error(m(batch[0]), batch[1]))(model)
            optimizer.update(model, gradients)

        self._step = nnx.jit(step, donate_argnums=(0, 1))

    @property
    def tree(self) -> Any:
        return nnx.as_pure((nnx.state(self._model), nnx.state(self._optimizer)))

    @tree.setter
    def tree(self, tree: Any) -> None:
        nnx.update(self._model, tree[0])
        nnx.update(self._optimizer, tree[1])

    def step(self, batch: Any) -> None:
        self._step(self._model, self._optimizer, batch)

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(x) for name, x in named_leaves(nnx.state(self._model, nnx.Param)).items()}


def flax_nnx() -> Toy:
    graph, params = nnx.split(_NnxModel(TARGET, nnx.Rngs(0)), nnx.Param)
    base = nnx.eval_shape(lambda: nnx.state(_NnxModel(BASE, nnx.Rngs(0)), nnx.Param))

    def loss(params: Any, batch: Any) -> jax.Array:
        return square_error(nnx.merge(graph, params)(batch[0]), batch[1])

    def loop(tx: optax.GradientTransformation) -> Loop:
        return _NnxLoop(nnx.merge(graph, jax.tree.map(jnp.copy, params)), tx)

    return Toy("nnx", params, _shapes(base), loss, loop, _IN_OUT)


class _LinenModel(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(nn.Dense(self.width, bias_init=nn.initializers.constant(0.1), name="up")(x))
        x = jnp.tanh(nn.Dense(self.width, use_bias=False, name="hidden")(x))
        return nn.Dense(OUTPUTS, use_bias=False, name="readout")(x)


class _LinenLoop:
    def __init__(self, apply: Any, params: Any, tx: optax.GradientTransformation):
        self.tree = TrainState.create(apply_fn=apply, params=jax.tree.map(jnp.copy, params), tx=tx)

        def step(state: TrainState, batch: Any) -> TrainState:
            gradients = jax.grad(lambda p: square_error(state.apply_fn(p, batch[0]), batch[1]))(state.params)
            return state.apply_gradients(grads=gradients)

        self._step = jax.jit(step, donate_argnums=0)

    def step(self, batch: Any) -> None:
        self.tree = self._step(self.tree, batch)

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(x) for name, x in named_leaves(self.tree.params).items()}


def linen() -> Toy:
    example = jnp.zeros((1, INPUTS))
    model = _LinenModel(TARGET)
    params = model.init(jax.random.key(0), example)
    base = jax.eval_shape(_LinenModel(BASE).init, jax.random.key(0), example)

    def loss(params: Any, batch: Any) -> jax.Array:
        return square_error(model.apply(params, batch[0]), batch[1])

    return Toy("linen", params, _shapes(base), loss, lambda tx: _LinenLoop(model.apply, params, tx), _IN_OUT)


class _EquinoxModel(eqx.Module):
    up: eqx.nn.Linear
    hidden: eqx.nn.Linear
    readout: eqx.nn.Linear
    activation: Callable[[jax.Array], jax.Array]

    def __init__(self, width: int):
        keys = jax.random.split(jax.random.key(0), 3)
        self.up = eqx.nn.Linear(INPUTS, width, key=keys[0])
        self.hidden = eqx.nn.Linear(width, width, use_bias=False, key=keys[1])
        self.readout = eqx.nn.Linear(width, OUTPUTS, use_bias=False, key=keys[2])
        self.activation = jnp.tanh

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(self.activation(self.hidden(self.activation(self.up(x)))))


class _EquinoxLoop:
    def __init__(self, model: _EquinoxModel, tx: optax.GradientTransformation):
        model = jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, model)
        # The activation is a leaf of the model that is no array: it stays out of what a checkpoint holds.
        params, self._rest = eqx.partition(model, eqx.is_array)
        self.tree = (params, tx.init(params))

        @eqx.filter_jit(donate="all-except-first")
        def step(batch: Any, model: Any, state: Any) -> Any:
            gradients = eqx.filter_grad(lambda m: square_error(jax.vmap(m)(batch[0]), batch[1]))(model)
            updates, state = tx.update(gradients, state, eqx.filter(model, eqx.is_array))
            return eqx.apply_updates(model, updates), state

        self._step = step

    def step(self, batch: Any) -> None:
        params, state = self.tree
        model, state = self._step(batch, eqx.combine(params, self._rest), state)
        self.tree = (eqx.filter(model, eqx.is_array), state)

    def parameters(self) -> dict[str, np.ndarray]:
        return {name: np.asarray(x) for name, x in named_leaves(self.tree[0]).items()}


def equinox() -> Toy:
    model = _EquinoxModel(TARGET)
    params, rest = eqx.partition(model, eqx.is_array)
    base = eqx.filter(eqx.filter_eval_shape(_EquinoxModel, BASE), lambda x: hasattr(x, "shape"))

    def loss(params: Any, batch: Any) -> jax.Array:
        return square_error(jax.vmap(eqx.combine(params, rest))(batch[0]), batch[1])

    roles = {
        "up/weight": ("input", ("out", "in")),
        "up/bias": ("vector", ("elementwise",)),
        "hidden/weight": ("matrix", ("out", "in")),
        "readout/weight": ("output", ("out", "in")),
    }
    return Toy("equinox", params, _shapes(base), loss, lambda tx: _EquinoxLoop(model, tx), roles)


class _HaikuModel(hk.Module):
    def __init__(self, width: int):
        super().__init__(name="toy")
        # Made in the constructor, haiku's names hold "/~/".
        self.up = hk.Linear(width, b_init=hk.initializers.Constant(0.1), name="up")
        self.hidden = hk.Linear(width, with_bias=False, name="hidden")
        self.readout = hk.Linear(OUTPUTS, with_bias=False, name="readout")

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.readout(jnp.tanh(self.hidden(jnp.tanh(self.up(x)))))


def haiku() -> Toy:
    def forward(width: int) -> hk.Transformed:
        return hk.without_apply_rng(hk.transform(lambda x: _HaikuModel(width)(x)))

    example = jnp.zeros((1, INPUTS))
    params = forward(TARGET).init(jax.random.key(0), example)
    base = jax.eval_shape(forward(BASE).init, jax.random.key(0), example)

    def loss(params: Any, batch: Any) -> jax.Array:
        return square_error(forward(TARGET).apply(params, batch[0]), batch[1])

    roles = {
        "up/w": ("input", ("in", "out")),
        "up/b": ("vector", ("elementwise",)),
        "hidden/w": ("matrix", ("in", "out")),
        "readout/w": ("output", ("in", "out")),
    }
    return Toy("haiku", params, _shapes(base), loss, lambda tx: _Functional(params, loss, tx), roles)


def haliax() -> Toy:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what haliax imports from JAX
        import haliax as hax
        import haliax.nn as hnn
    inputs, outputs = hax.Axis("inputs", INPUTS), hax.Axis("outputs", OUTPUTS)

    def init(width: int) -> Any:
        keys, embed, other = jax.random.split(jax.random.key(0), 3), *(hax.Axis(n, width) for n in "ed")
        return {
            "up": hnn.Linear.init(inputs, embed, key=keys[0]),
            "hidden": hnn.Linear.init(embed, other, use_bias=False, key=keys[1]),
            "readout": hnn.Linear.init(other, outputs, use_bias=False, key=keys[2]),
        }

    def loss(params: Any, batch: Any) -> jax.Array:
        x = hax.named(batch[0], (hax.Axis("rows", len(batch[0])), inputs))
        y = params["readout"](hax.tanh(params["hidden"](hax.tanh(params["up"](x)))))
        return square_error(y.array, batch[1])

    roles = {
        "up/weight": ("input", ("out", "in")),
        "up/bias": ("vector", ("elementwise",)),
        "hidden/weight": ("matrix", ("out", "in")),
        "readout/weight": ("output", ("out", "in")),
    }
    params = init(TARGET)
    base = jax.eval_shape(lambda: init(BASE))
    return Toy("haliax", params, _shapes(base), loss, lambda tx: _Functional(params, loss, tx), roles)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(leaf.shape) for name, leaf in named_leaves(tree).items()}


FRAMEWORKS = {"nnx": flax_nnx, "linen": linen, "equinox": equinox, "haiku": haiku, "plain": plain}


def tree_from_names(like: Any, named: dict[str, Any]) -> Any:
    """The tree `like`, with the leaves that `named` gives."""
    return map_named(lambda name, leaf: jnp.asarray(named[name], leaf.dtype), like)
