"""What is reported of a parameter's singular values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from mupwd.diagnostics.matrices import Layout

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


class Observation(NamedTuple):
    """The largest singular values of one parameter's matrices, and what is known of their error.

    Of a parameter that is a stack (scanned layers, experts, fused q/k/v) every field has a leading axis
    `copies`, over its stack axes in row-major order; else there is none.

    Attributes:
      sigma: the k largest singular values, falling; fewer where a matrix has fewer. NaN where the matrix is not
        finite.
      err: estimate of the relative error of each, which the true error exceeds in less than 1 % of cases. A
        value below 0.4 % of the largest (at a tolerance of 1e-3) is judged relative to that 0.4 %.
      passes: how often the matrix was read for its products; its Frobenius norm reads it once more.
      converged: whether every `err` is at most the tolerance.
      fro: Frobenius norm.
      missed_bound: `sqrt(fro**2 - sum of sigma**2)` over all directions that were followed: the largest that a
        singular value can be which the iteration did not see.
      stable_rank: `fro**2 / sigma_1**2`; NaN for a matrix of zeros.
      rms_operator_norm: `sigma_1 * sqrt(fan_in / fan_out)`, the most by which the matrix can multiply the RMS of
        a vector.

    Example:
      >>> import mupwd
      >>> wide = lambda d: {"up": 3.0 * jnp.eye(d, 4 * d)}
      >>> plan = mupwd.family_from_shapes(wide(4), wide(8), axes={"up": "in out"}).plan(wide(8))
      >>> found = mupwd.spectrum(wide(8), plan, k=1)["up"]
      >>> round(float(found.sigma[0]), 3), round(float(found.rms_operator_norm), 3), bool(found.converged)
      (3.0, 1.5, True)
    """

    sigma: Float[Array, "*copies k"]
    err: Float[Array, "*copies k"]
    passes: Int[Array, "*copies"]
    converged: Bool[Array, "*copies"]
    fro: Float[Array, "*copies"]
    missed_bound: Float[Array, "*copies"]
    stable_rank: Float[Array, "*copies"]
    rms_operator_norm: Float[Array, "*copies"]


def observation(
    sigma: Float[Array, "n b"],
    err: Float[Array, "n k"],
    passes: Int[Array, " n"],
    fro: Float[Array, " n"],
    tol: float,
    layout: Layout,
) -> Observation:
    """Returns what follows from the singular values of all followed directions.

    Args:
      sigma: of all b directions.
      err: of the first k.
      passes: reads of each matrix.
      fro: Frobenius norms.
      tol: relative error that is good enough.
      layout: of the matrices.
    """
    top = sigma[:, 0]
    scale = jnp.where(fro > 0, fro, 1.0)
    complete = sigma.shape[1] == layout.size(layout.short)
    unseen = jnp.zeros_like(fro) if complete else 1.0 - jnp.sum((sigma / scale[:, None]) ** 2, axis=1)
    shape_ratio = layout.size(layout.fan_in) / layout.size(layout.fan_out)
    return Observation(
        sigma=sigma[:, : err.shape[1]],
        err=err,
        passes=passes,
        converged=jnp.all(err <= tol, axis=1),
        fro=fro,
        missed_bound=scale * jnp.sqrt(jnp.maximum(unseen, 0.0)),
        stable_rank=(fro / top) ** 2,
        rms_operator_norm=top * jnp.float32(shape_ratio) ** 0.5,
    )


def flat(observations: Mapping[str, Any]) -> Iterator[tuple[str, Array]]:
    """Yields ("<path>[i]/sigma_1", value) and so on: every number of some observations by its metric's name.

    Args:
      observations: `{path: NamedTuple of arrays}`, whose arrays may have an axis of copies. A field that is None
        has no number.
    """
    for path, found in observations.items():
        known = {field: values for field, values in found._asdict().items() if values is not None}
        copied = [*known.values()][-1].ndim == 1  # the last field is one number for each matrix
        for field, values in known.items():
            for copy in range(values.shape[0]) if copied else (None,):
                where = path if copy is None else f"{path}[{copy}]"
                value = values if copy is None else values[copy]
                if value.ndim == 0:
                    yield f"{where}/{field}", value
                    continue
                for index in range(value.shape[0]):
                    yield f"{where}/{field}_{index + 1}", value[index]
