"""A training run as pure functions, to be compiled, vmapped and scanned over as the caller likes.

    program = Program(width, proxy_config, train_config, plan)
    state = program.init(hyper)
    state, metrics = program.segment(state, hyper, data, steps)    # steps <= program.segment_steps
    loss = program.evaluate(state.params, batches)                 # mean loss of batches[E, B, T+1]

`hyper` is a `Hyper(learning_rate, weight_decay, seed)` of scalars that may be traced, so one compilation
serves all trials of a width; several trials run in one program by

    states = jax.jit(jax.vmap(program.init))(hypers)               # a Hyper of arrays [trials]
    segment = jax.jit(jax.vmap(program.segment, in_axes=(0, 0, None, None)), donate_argnums=0)
    states, metrics = segment(states, hypers, data, steps)
    losses = jax.jit(jax.vmap(program.evaluate, in_axes=(0, None)))(states.params, batches)

`data` is the whole corpus as tokens `[N]`, from which a batch is drawn on the device as a function of
(seed, step), or batches `[segment_steps, B, T+1]` for a corpus that does not fit there. `steps` may be
traced: one compilation serves segments of any length up to `segment_steps`, and a run gives the same bits
however it is cut. `metrics` is a dict of float32 arrays `[segment_steps]`, of which the first `steps` entries
are valid.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from mupwd.forward import apply_forward
from mupwd.optim import adamw, clip_by_global_norm
from mupwd.paths import map_named, named_leaves
from mupwd.plan import Plan
from mupwd.proxy.config import ProxyConfig, TrainConfig
from mupwd.proxy.corpus_sampling import sample_device
from mupwd.proxy.model import Llama, initial_std, next_token_loss
from mupwd.proxy.schedule import schedule_shape

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Integer


class Hyper(NamedTuple):
    """What is tuned, and the seed: scalars that may be traced, or arrays `[trials]` under vmap.

    learning_rate: the schedule's peak. weight_decay: per unit of learning rate (coupled) or per step
    (independent), as `TrainConfig.decay` says. seed: of the initial values and of the data, in [0, 2**32).
    """

    learning_rate: Any
    weight_decay: Any
    seed: Any

    @classmethod
    def of(cls, learning_rate: float, weight_decay: float, seed: int) -> Hyper:
        """Returns a Hyper of device scalars of the types that every compilation is made for."""
        return cls(jnp.float32(learning_rate), jnp.float32(weight_decay), jnp.uint32(seed))


class TrainState(NamedTuple):
    """Steps done, parameters, optimizer state."""

    step: Any
    params: Any
    opt_state: Any


class Program:
    """The pure functions of one width; see the module's own description.

    Args:
      width: of the model.
      proxy: the model's configuration.
      train: the run's configuration.
      plan: the rule, for this width of the proxy's family.
      segment_steps: the most steps that one call of `segment` runs, and the length of its metrics;
        `train.log_every` by default.

    Raises:
      PlanError: the plan is not for this model.
    """

    def __init__(
        self, width: int, proxy: ProxyConfig, train: TrainConfig, plan: Plan, segment_steps: int | None = None
    ):
        self.width, self.proxy, self.train, self.plan = width, proxy, train, plan
        self.segment_steps = train.log_every if segment_steps is None else segment_steps
        self._shape = schedule_shape(train)
        self._graphdef, state = nnx.split(nnx.eval_shape(lambda: Llama(width, proxy, nnx.Rngs(0))))
        plan.check(nnx.to_pure_dict(state))
        self._logits = apply_forward(self._model_logits, plan)

    def logits(self, params: Any, tokens_BxT: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        """Returns the model's logits, with the plan's forward factors in."""
        return self._logits(params, tokens_BxT)

    def _model_logits(self, params: Any, tokens_BxT: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        return nnx.merge(self._graphdef, nnx.State(params))(tokens_BxT)

    def loss(self, params: Any, batch_BxT1: Int[Array, "B T+1"]) -> Float[Array, ""]:
        """Returns the mean cross-entropy of a batch, in nats per token."""
        return next_token_loss(self.logits(params, batch_BxT1[:, :-1]), batch_BxT1[:, 1:])

    def init(self, hyper: Hyper) -> TrainState:
        """Returns the state before the first step."""
        model = Llama(self.width, self.proxy, nnx.Rngs(jax.random.key(hyper.seed)))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        params = map_named(self._by_the_rule, params)
        return TrainState(jnp.int32(0), params, self._optimizer(hyper).init(params))

    def _by_the_rule(self, path: str, value: Array) -> Array:
        plan = self.plan[path]
        if plan.init is None:
            return value
        base, own = (initial_std(path, shape, self.proxy.tied) for shape in (plan.base_shape, plan.shape))
        factor = plan.init * base / own
        return value if factor == 1 else value * factor

    def segment(
        self,
        state: TrainState,
        hyper: Hyper,
        data: Integer[Array, " N"] | Integer[Array, "S B T+1"],
        steps: int | Int[Array, ""],
    ) -> tuple[TrainState, dict[str, Float[Array, " S"]]]:
        """Runs `steps <= segment_steps` optimizer steps; returns the state and each step's metrics.

        Returns:
          The state, and {"train/loss": nats per token, "train/grad_norm": before clipping,
          "train/learning_rate"}: arrays `[segment_steps]`, NaN from index `steps` on.
        """
        optimizer = self._optimizer(hyper)

        def body(i: Any, carry: tuple[TrainState, dict[str, Any]]) -> tuple[TrainState, dict[str, Any]]:
            state, metrics = carry
            if data.ndim == 1:
                batch = sample_device(
                    data, hyper.seed, state.step, self.train.batch_size, self.train.sequence_length
                )
            else:
                batch = data[i]
            loss, grads = jax.value_and_grad(self.loss)(state.params, batch)
            # optax's bias correction raises a float to an int32, which strict promotion refuses.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
                learning_rate = hyper.learning_rate * self._shape(state.step)
            values = {
                "train/loss": loss,
                "train/grad_norm": self._gradient_norm(grads),
                "train/learning_rate": learning_rate,
            }
            metrics = {name: metrics[name].at[i].set(value) for name, value in values.items()}
            return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state), metrics

        empty = {
            name: jnp.full((self.segment_steps,), jnp.nan)
            for name in ("train/loss", "train/grad_norm", "train/learning_rate")
        }
        return jax.lax.fori_loop(0, steps, body, (state, empty))

    def evaluate(self, params: Any, batches: Integer[Array, "E B T+1"]) -> Float[Array, ""]:
        """Returns the mean loss of several batches, in nats per token."""
        return jnp.mean(jax.lax.map(lambda batch: self.loss(params, batch.astype(jnp.int32)), batches))

    def _gradient_norm(self, grads: Any) -> Float[Array, ""]:
        """The global norm in units of the forward form, as clipping takes it."""
        squares = [jnp.sum((g / self.plan[path].gradient) ** 2) for path, g in named_leaves(grads).items()]
        return jnp.sqrt(jnp.sum(jnp.stack(squares)))

    def _optimizer(self, hyper: Hyper) -> optax.GradientTransformation:
        transform = adamw(
            lambda count: hyper.learning_rate * self._shape(count),
            self.plan,
            b1=self.train.beta1,
            b2=self.train.beta2,
            eps=self.train.eps,
            weight_decay=hyper.weight_decay,
            decay=self.train.decay,
            peak_learning_rate=hyper.learning_rate if self.train.decay == "independent" else None,
        )
        if self.train.clip is None:
            return transform
        return optax.chain(clip_by_global_norm(self.train.clip, self.plan), transform)
