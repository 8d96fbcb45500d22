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
are valid, those of "spectral/..." and "gain/..." only after steps that `train.observe_every` divides. (vmap turns
a choice into both branches, so that observations cost as much at every step: observe in trials that run alone.)

With `train.sharding` the functions constrain where their arrays live, and `data`, `hyper` and `batches` are placed by
`program.layout` (`mupwd.proxy.mesh`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from mupwd.diagnostics.sublayers import sublayer_gains
from mupwd.diagnostics.tracker import metrics as spectral_metrics
from mupwd.diagnostics.tracker import track_spectrum
from mupwd.forward import apply_forward
from mupwd.optim import adamw, clip_by_global_norm
from mupwd.paths import map_named, named_leaves
from mupwd.plan import Plan
from mupwd.proxy.config import ProxyConfig, TrainConfig
from mupwd.proxy.corpus_sampling import sample_device
from mupwd.proxy.mesh import layout_of
from mupwd.proxy.model import Llama, initial_std, next_token_loss
from mupwd.proxy.schedule import schedule_shape

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int, Integer

_OBSERVED = "observed"
_OBSERVED_VALUES = 4
_AUDIT_STEPS = 500


class Hyper(NamedTuple):
    """What is tuned, and the seed: scalars that may be traced, or arrays `[trials]` under vmap.

    Attributes:
      learning_rate: the schedule's peak.
      weight_decay: per unit of learning rate (coupled) or per step (independent), as `TrainConfig.decay` says.
      seed: of the initial values and of the data, in [0, 2**32).

    Example:
      >>> Hyper.of(2**-5, 0.25, seed=3).seed.dtype
      dtype('uint32')
    """

    learning_rate: Any
    weight_decay: Any
    seed: Any

    @classmethod
    def of(cls, learning_rate: float, weight_decay: float, seed: int) -> Hyper:
        """Returns a Hyper of device scalars of the types that every compilation is made for."""
        return cls(jnp.float32(learning_rate), jnp.float32(weight_decay), jnp.uint32(seed))


class TrainState(NamedTuple):
    """Steps done, parameters, optimizer state.

    Example:
      >>> from mupwd.proxy import family
      >>> proxy, train = ProxyConfig(layers=1), TrainConfig(steps=2, warmup=0)
      >>> program = Program(32, proxy, train, family(proxy, base=16).plan(32))
      >>> state = jax.eval_shape(program.init, Hyper.of(2**-5, 0.1, seed=0))  # shapes; jax.jit computes it
      >>> state.step.dtype, sorted(state.params)
      (dtype('int32'), ['embedding', 'layers', 'norm', 'readout'])
    """

    step: Any
    params: Any
    opt_state: Any


class ObservedState(NamedTuple):
    """A `TrainState` with the spectra's state, where `TrainConfig.observe_every` is given.

    Attributes:
      step: that was done last.
      params: of the model.
      opt_state: of the optimizer.
      spectra: state of `mupwd.track_spectrum`.

    Example:
      >>> from mupwd.proxy import family
      >>> proxy, train = ProxyConfig(layers=1), TrainConfig(steps=4, warmup=0, observe_every=1)
      >>> program = Program(32, proxy, train, family(proxy, base=16).plan(32))
      >>> state = jax.eval_shape(program.init, Hyper.of(2**-5, 0.1, seed=0))
      >>> type(state).__name__, state.step.dtype
      ('ObservedState', dtype('int32'))
    """

    step: Any
    params: Any
    opt_state: Any
    spectra: Any


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
      ValueError: the devices do not divide the batch.

    Example:
      >>> from mupwd.proxy import family
      >>> proxy, train = ProxyConfig(layers=1), TrainConfig(steps=2, warmup=0, batch_size=2, sequence_length=8)
      >>> program = Program(32, proxy, train, family(proxy, base=16).plan(32))
      >>> state = jax.eval_shape(program.init, Hyper.of(2**-5, 0.1, seed=0))  # shapes; jax.jit computes it
      >>> jax.eval_shape(program.logits, state.params, jax.ShapeDtypeStruct((2, 8), jnp.int32)).shape
      (2, 8, 256)
    """

    def __init__(
        self, width: int, proxy: ProxyConfig, train: TrainConfig, plan: Plan, segment_steps: int | None = None
    ):
        self.width, self.proxy, self.train, self.plan = width, proxy, train, plan
        self.segment_steps = train.log_every if segment_steps is None else segment_steps
        self.layout = layout_of(train)
        self._shape = schedule_shape(train)
        self._graphdef, state = nnx.split(nnx.eval_shape(lambda: Llama(width, proxy, nnx.Rngs(0))))
        plan.check(nnx.to_pure_dict(state))
        self._logits = apply_forward(self._model_logits, plan)
        self._gains = sublayer_gains(self._logits)
        # It observes when asked, which `segment` does after the right steps.
        audit_every = max(1, _AUDIT_STEPS // (train.observe_every or 1))
        self._tracker = track_spectrum(plan, k=_OBSERVED_VALUES, every=1, audit_every=audit_every)

    def logits(self, params: Any, tokens_BxT: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        """Returns the model's logits, with the plan's forward factors in."""
        return self._logits(params, tokens_BxT)

    def _model_logits(self, params: Any, tokens_BxT: Int[Array, "B T"]) -> Float[Array, "B T V"]:
        return nnx.merge(self._graphdef, nnx.State(params))(tokens_BxT)

    def loss(self, params: Any, batch_BxT1: Int[Array, "B T+1"]) -> Float[Array, ""]:
        """Returns the mean cross-entropy of a batch, in nats per token."""
        params = self._gathered(params)
        return next_token_loss(self.logits(params, batch_BxT1[:, :-1]), batch_BxT1[:, 1:])

    def init(self, hyper: Hyper) -> TrainState | ObservedState:
        """Returns the state before the first step."""
        model = Llama(self.width, self.proxy, nnx.Rngs(jax.random.key(hyper.seed)))
        params = nnx.to_pure_dict(nnx.state(model, nnx.Param))
        params = map_named(self._by_the_rule, params)
        state = TrainState(jnp.int32(0), params, self._optimizer(hyper).init(params))
        if self.train.observe_every is None:
            return self.laid_out(state)
        return self.laid_out(ObservedState(*state, self._tracker.init(params)))

    def laid_out(self, state: Any) -> Any:
        """Returns a state, traced or of shapes, with its arrays where `train.sharding` wants them."""
        state = state._replace(
            step=self.layout.whole(state.step),
            params=self.layout.cut(state.params),
            opt_state=self.layout.cut(state.opt_state),
        )
        if self.train.observe_every is None:
            return state
        return state._replace(spectra=self.layout.whole(state.spectra))

    def _gathered(self, params: Any) -> Any:
        """All of each parameter, to compute with: products of cut ones would send activations around instead."""
        return self.layout.whole(params)

    def _by_the_rule(self, path: str, value: Array) -> Array:
        plan = self.plan[path]
        if plan.init is None:
            return value
        base, own = (initial_std(path, shape, self.proxy.tied) for shape in (plan.base_shape, plan.shape))
        factor = plan.init * base / own
        return value if factor == 1 else value * factor

    def segment(
        self,
        state: Any,
        hyper: Hyper,
        data: Integer[Array, " N"] | Integer[Array, "S B T+1"],
        steps: int | Int[Array, ""],
    ) -> tuple[Any, dict[str, Float[Array, " S"]]]:
        """Runs `steps <= segment_steps` optimizer steps; returns the state and each step's metrics.

        Args:
          state: as `init` returns it.
          hyper: of the trial.
          data: tokens or batches; see the module.
          steps: how many.

        Returns:
          The state, and {"train/loss": nats per token, "train/grad_norm": before clipping,
          "train/learning_rate"}: arrays `[segment_steps]`, NaN from index `steps` on; with
          `train.observe_every` also "spectral/<path>/<quantity>" and "gain/<sublayer>" of the parameters after
          the step, "update/<path>/<quantity>" of the step, NaN where nothing was observed.
        """
        optimizer = self._optimizer(hyper)
        every = self.train.observe_every

        def body(i: Any, carry: tuple[Any, dict[str, Any]]) -> tuple[Any, dict[str, Any]]:
            state, metrics = carry
            batch = self._batch(state.step, hyper, data, i)
            loss, grads = jax.value_and_grad(self.loss)(state.params, batch)
            grads = self.layout.cut(grads)
            # optax's bias correction raises a float to an int32, which strict promotion refuses.
            with jax.numpy_dtype_promotion("standard"):
                updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
                learning_rate = hyper.learning_rate * self._shape(state.step)
            values = {
                "train/loss": loss,
                "train/grad_norm": self._gradient_norm(grads),
                "train/learning_rate": learning_rate,
            }
            recorded = {name: metrics[name].at[i].set(value) for name, value in values.items()}
            state = self.laid_out(
                state._replace(
                    step=state.step + 1,
                    params=optax.apply_updates(state.params, updates),
                    opt_state=opt_state,
                )
            )
            if every is None:
                return state, recorded

            def observe(spectra: Any, rows: Any) -> tuple[Any, Any]:
                spectra, seen = self._observe(spectra, updates, state.params, batch)
                return spectra, rows.at[i].set(jnp.stack([seen[name] for name in sorted(seen)]))

            spectra, rows = jax.lax.cond(
                state.step % every == 0, observe, lambda *same: same, state.spectra, metrics[_OBSERVED]
            )
            return state._replace(spectra=spectra), {**recorded, _OBSERVED: rows}

        empty = {
            name: jnp.full((self.segment_steps,), jnp.nan)
            for name in ("train/loss", "train/grad_norm", "train/learning_rate")
        }
        if every is None:
            state, metrics = jax.lax.fori_loop(0, steps, body, (state, empty))
            return state, self.layout.whole(metrics)
        batch = jax.eval_shape(self._batch, state.step, hyper, data, 0)
        names = sorted(jax.eval_shape(self._observe, state.spectra, state.params, state.params, batch)[1])
        # One array of all: a loop carries hundreds of small ones slowly.
        empty[_OBSERVED] = jnp.full((self.segment_steps, len(names)), jnp.nan)
        state, metrics = jax.lax.fori_loop(0, steps, body, (state, empty))
        rows = metrics.pop(_OBSERVED)
        metrics |= {name: rows[:, index] for index, name in enumerate(names)}
        return state, self.layout.whole(metrics)

    def _batch(self, step: Any, hyper: Hyper, data: Any, i: Any) -> Int[Array, "B T+1"]:
        if data.ndim != 1:
            return self.layout.rows(data[i])
        B, T = self.train.batch_size, self.train.sequence_length
        return self.layout.rows(sample_device(data, hyper.seed, step, B, T))

    def _observe(self, spectra: Any, updates: Any, params: Any, batch: Any) -> tuple[Any, dict[str, Any]]:
        """The spectra's next state, and what is to be recorded: scalars by name."""
        # From these parameters, those after the step, it was the opposite one, of the same size and angle.
        _, spectra = self._tracker.update(jax.tree.map(jnp.negative, updates), spectra, params)
        _, gains = self._gains(self._gathered(params), batch[:, :-1])
        seen = {name: one for name, one in spectral_metrics(spectra).items() if _is_kept(name)}
        for sublayer, gain in gains.items():
            # In a scan over layers: one each.
            copies = (
                {f"[{layer}]": gain[layer] for layer in range(gain.shape[0])} if gain.ndim else {"": gain}
            )
            seen |= {f"gain/{sublayer}{copy}": value for copy, value in copies.items()}
        return spectra, {name: value.astype(jnp.float32) for name, value in seen.items()}

    def evaluate(self, params: Any, batches: Integer[Array, "E B T+1"]) -> Float[Array, ""]:
        """Returns the mean loss of several batches, in nats per token."""

        def loss(batch: Array) -> Array:
            return self.loss(params, self.layout.rows(batch.astype(jnp.int32)))

        return self.layout.whole(jnp.mean(jax.lax.map(loss, batches)))

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


def _is_kept(name: str) -> bool:
    """Of the geometry only what the spectra, the plan and the schedule do not say already."""
    return name.startswith("spectral/") or name.endswith(("/update_rms", "/angle"))
