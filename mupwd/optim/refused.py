"""optax's optimizers that cannot follow a plan, and why."""

from __future__ import annotations

_TOGETHER = (
    "it estimates one step size from all parameters together, which factors per parameter would change; no rule is "
    "known for it"
)
_NOISE = (
    "the noise in each entry is independent and the gradient's entries are not, so that one factor keeps their ratio "
    "in the entries or in the output, and not both; no rule is known for it"
)

REFUSED = {
    "prodigy": _TOGETHER,
    "dadapt_adamw": _TOGETHER,
    "cocob": _TOGETHER,
    "dog": _TOGETHER,
    "dowg": _TOGETHER,
    "momo": _TOGETHER,
    "momo_adam": _TOGETHER,
    "mechanize": _TOGETHER,
    "polyak_sgd": _TOGETHER,
    "lbfgs": "its directions and line search mix all parameters; no rule is known for it",
    "noisy_sgd": _NOISE,
    "dpsgd": _NOISE,
    "optimistic_adam": "optax has deprecated it; take optax.optimistic_adam_v2, which is known",
    "sophia": (
        "an entry of the Hessian's diagonal and the noise of Hutchinson's estimate of it are different powers of the "
        "width, so that which steps are clipped depends on the width whatever the factors are"
    ),
    "galore": (
        "the size of its step depends on the rank of its projection, and what the rank is to be at another width is no "
        "matter of a plan; no rule is known for it"
    ),
    "sam": (
        "it takes optimizers, not a learning rate, and its perturbation is divided by the norm of all gradients "
        "together, which needs factors per layer of its own (Haas et al., arXiv 2411.00075)"
    ),
    "schedule_free": (
        "it takes an optimizer, not a learning rate: give it a wrapped one, as in "
        "optax.contrib.schedule_free(mupwd.wrap(optax.sgd, plan)(learning_rate), learning_rate)"
    ),
    "lookahead": "it takes an optimizer, not a learning rate: give it a wrapped one",
}
