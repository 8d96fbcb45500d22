"""How much loss a wrong learning rate costs, averaged over the sweep."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from mupwd.diagnostics.powers import student
from mupwd.transfer.observations import Estimate, complete_pairs, seed_noise
from mupwd.transfer.optimum import offset_means


def learning_rate_sensitivity(
    losses: Mapping[float, Mapping[int, float]], initial_loss: float | None = None, level: float = 0.95
) -> Estimate:
    """Mean over the learning rates of the sweep of `min(loss, initial_loss)`, minus the best loss.

    Each learning rate weighs as many octaves as lie nearer to it than to its neighbours, the first and last as
    many as if the grid went on; on an even grid all weigh the same. Per learning rate the loss is the mean over its
    trials with what a seed adds to all taken out; one with a diverged trial counts as `initial_loss`. The interval
    is Student's, with the noise of one trial about its learning rate's and seed's mean from those learning rates
    that ran with every seed. Values compare only between sweeps over the same range: it is part of the definition.

    Args:
      losses: `{learning rate: {seed: loss}}`, diverged trials infinite or NaN.
      initial_loss: loss of the untrained model, such as log(vocabulary) nats per token. Needed where a trial
        diverged: nothing that the trained models ended with stands for it.
      level: of the interval.

    Returns:
      The mean excess loss, in the losses' unit.

    Raises:
      ValueError: fewer than two learning rates, one that is not positive, no finite loss, or a trial diverged and
        `initial_loss` is not given.

    Example:
      >>> learning_rate_sensitivity({0.1: {0: 1.5}, 0.2: {0: 1.0}, 0.4: {0: math.inf}}, initial_loss=2.0).value
      0.5

    Source: Wortsman et al., "Small-scale proxies for large-scale Transformer training instabilities",
    arXiv 2309.14322: "LR sensitivity", the expectation over the learning rates of a range, three orders of
    magnitude there, of `min(loss, loss at initialisation) - best loss`.
    """
    if len(losses) < 2 or min(losses) <= 0:
        raise ValueError(
            f"learning rate sensitivity: expected two learning rates or more above 0, found {sorted(losses)}"
        )
    rates = sorted(losses)
    means = offset_means(losses, rates)
    finite = np.isfinite(means)
    if not finite.any():
        raise ValueError(
            f"learning rate sensitivity: all trials at {rates} diverged; lower the learning rates"
        )
    if initial_loss is None and not finite.all():
        diverged = [rate for rate, fine in zip(rates, finite, strict=True) if not fine]
        raise ValueError(
            f"learning rate sensitivity: trials diverged at {diverged}; give initial_loss, what the untrained model's "
            "loss is (log of the vocabulary for nats per token)"
        )
    ceiling = math.inf if initial_loss is None else initial_loss
    weights = _shares(np.log2(rates))
    best = int(np.argmin(means))
    value = float(weights @ np.minimum(means, ceiling) - means[best])
    noise, freedom = seed_noise(list(complete_pairs(losses).values()))
    if not freedom:
        return Estimate(value, None)
    # A loss at the ceiling carries no noise, and the best one's is in both terms.
    parts = np.where(means < ceiling, weights, 0.0) - (np.arange(len(rates)) == best)
    counts = np.array([len(losses[rate]) for rate in rates])
    error = noise * math.sqrt(float((parts**2 / counts).sum()))
    half = student(level, freedom) * error
    return Estimate(value, (value - half, value + half))


def _shares(x: np.ndarray) -> np.ndarray:
    gaps = np.diff(x)
    cells = np.concatenate([gaps[:1], gaps, gaps[-1:]])
    widths = (cells[:-1] + cells[1:]) / 2
    return widths / widths.sum()
