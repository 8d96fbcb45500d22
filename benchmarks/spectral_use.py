"""How exact the tracker is in use, and how often it reads a matrix: along drifts and along a training run.

Every observation is compared with float64 LAPACK on the same matrix. "Every 10" observes every tenth step of the
same drift or run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from spectral_matrices import KINDS, Drift, K, plan_of, standard_library, truth

import mupwd
from mupwd.diagnostics.matrices import layout_of
from mupwd.paths import named_leaves
from mupwd.plan import Plan
from mupwd.proxy import Hyper, Program, ProxyConfig, TrainConfig, family

EVERY = (1, 10)
SHAPES = ((256, 256), (256, 1024))
RATE = 1e-3  # of the drift, per step
DRIFT_STEPS = 510  # past the first audit
WIDTH, BASE, LAYERS = 256, 64, 2
TRAIN_STEPS, LEARNING_RATE, WEIGHT_DECAY = 510, 2**-6, 0.5


class Score:
    """What many observations amount to."""

    def __init__(self, tol: float):
        self._tol = tol
        self._errors: list[np.ndarray] = []
        self._estimates: list[np.ndarray] = []
        self._passes: list[np.ndarray] = []
        self._unconverged = self.disagreements = 0

    def read(self, observation: Any) -> None:
        """Counts the passes of an observation."""
        self._passes.append(np.atleast_1d(observation.passes))
        self._unconverged += int(np.sum(~np.asarray(observation.converged)))

    def compare(self, observation: Any, exact: np.ndarray) -> None:
        """Compares an observation with the truth `[n, K]`."""
        sigma, estimate = (
            np.asarray(part).reshape(exact.shape) for part in (observation.sigma, observation.err)
        )
        self._errors.append(np.abs(sigma / exact - 1))
        self._estimates.append(estimate)

    def result(self) -> dict[str, float]:
        """The shares and means."""
        errors, estimates = np.concatenate(self._errors), np.concatenate(self._estimates)
        passes = np.concatenate(self._passes)
        return {
            "compared": len(errors),
            "within_tolerance": float(np.mean(np.max(errors, axis=1) <= self._tol)),
            "covered": float(np.mean(estimates >= errors)),
            "largest_error": float(np.max(errors)),
            "median_error": float(np.median(np.max(errors, axis=1))),
            "observed": len(passes),
            "unconverged": self._unconverged,
            "mean_passes": float(np.mean(passes)),
            "largest_passes": float(np.max(passes)),
            "disagreements": self.disagreements,
        }


class Observer:
    """A tracker that is asked at some steps, whose audits fall where they would in a run."""

    def __init__(self, plan: Plan, tol: float):
        self.tracker = mupwd.track_spectrum(plan, K, every=1, tol=tol)
        self._update = jax.jit(self.tracker.update)

    def observe(self, state: Any, step: int, params: Any) -> Any:
        """Returns the state after observing the parameters at a step."""
        # The parameters stand in for their updates, whose geometry is not looked at.
        return self._update(params, state._replace(step=jnp.int32(step)), params)[1]


def use(tol: float, seed: int) -> dict[str, dict[str, float]]:
    """Measures all drifts and the training run.

    Returns:
      {"<what>, every <n>": `Score.result`}.
    """
    results = {}
    for shape in SHAPES:
        observer = None
        for kind, make in KINDS.items():
            drift = Drift(make(*shape, seed), RATE, seed)
            observer = observer or Observer(plan_of(drift.matrix), tol)
            steps = ({"w": jnp.asarray(drift.step())} for _ in range(DRIFT_STEPS))
            scores = _scores(observer, steps, lambda leaves: {"w": leaves["w"][None]}, tol, compare_every=1)
            results |= {f"{kind} {shape[0]} x {shape[1]}, every {n}": score for n, score in scores.items()}
    return results | {f"proxy, every {n}": score for n, score in _training(tol, seed).items()}


def use_table(results: Mapping[str, Mapping[str, float]]) -> str:
    """The results as aligned text."""
    head = f"  {'':36}{'within tol':>11}{'covered':>9}{'largest err':>12}{'passes':>8}{'most':>6}{'audits differ':>15}"
    lines = [head]
    for name, found in results.items():
        lines.append(
            f"  {name:36}{100 * found['within_tolerance']:10.2f}%{100 * found['covered']:8.2f}%"
            f"{found['largest_error']:12.1e}{found['mean_passes']:8.2f}{found['largest_passes']:6.0f}"
            f"{found['disagreements']:15d}"
        )
    return "\n".join(lines)


def _scores(
    observer: Observer, steps: Iterator[Any], matrices: Any, tol: float, compare_every: int
) -> dict[int, dict[str, float]]:
    """Follows parameters step by step, at every cadence of `EVERY` at once.

    Args:
      observer: of the parameters' plan.
      steps: the parameters before each step.
      matrices: gives a mapping's leaves as `{path: [n, rows, columns]}`.
      tol: relative error.
      compare_every: observations for which one is compared; all that a slower cadence makes are.
    """
    scores = {every: Score(tol) for every in EVERY}
    states: dict[int, Any] = {}
    for step, params in enumerate(steps):
        exact: dict[str, np.ndarray] = {}
        for every, score in scores.items():
            if step % every:
                continue
            state = observer.observe(states.get(every, observer.tracker.init(params)), step, params)
            states[every] = state
            for path, observation in state.observations.items():
                # A start from nothing is the other part's business.
                if step:
                    score.read(observation)
                if step % compare_every and every == 1:
                    continue
                if path not in exact:
                    exact[path] = truth(np.asarray(matrices(named_leaves(params))[path])).sigma
                score.compare(observation, exact[path])
    for every, score in scores.items():
        score.disagreements = int(sum(np.sum(n) for n in states[every].weights.disagreements.values()))
    return {every: score.result() for every, score in scores.items()}


def _training(tol: float, seed: int) -> dict[int, dict[str, float]]:
    """The same along the training of the proxy on the standard library's text."""
    config = ProxyConfig(layers=LAYERS)
    plan = family(config, base=BASE).plan(WIDTH)
    train = TrainConfig(steps=TRAIN_STEPS, warmup=50, log_every=1)
    program = Program(WIDTH, config, train, plan)
    segment = jax.jit(program.segment)
    hyper = Hyper.of(LEARNING_RATE, WEIGHT_DECAY, seed)
    text = jnp.asarray(standard_library())
    layouts = {path: layout_of(parameter) for path, parameter in plan.items()}

    def steps() -> Iterator[Any]:
        state = jax.jit(program.init)(hyper)
        for _ in range(TRAIN_STEPS):
            yield state.params
            state, _ = segment(state, hyper, text, np.int32(1))

    def matrices(leaves: Mapping[str, Any]) -> dict[str, Any]:
        found = {}
        for path, leaf in leaves.items():
            layout = layouts[path]
            if layout is not None and not layout.copies:
                found[path] = leaf.reshape(1, layout.size(layout.fan_in), layout.size(layout.fan_out))
        return found

    return _scores(Observer(plan, tol), steps(), matrices, tol, compare_every=5)
