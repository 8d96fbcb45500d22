"""Products of parameters with thin blocks: no matrix is copied, transposed or gathered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
from jax import lax

from mupwd.diagnostics.matrices import Layout

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float


class Products:
    """The matrices of a group as operators `A[n]` from their shorter side `s` to their longer side `l`.

    A parameter is read in its own dtype and axes; products are taken with HIGHEST precision (the default of
    TPUs, and TF32, are coarser than the tolerance) and accumulated in float32. Only thin blocks are reshaped,
    so that of sharded parameters only thin blocks travel.

    Args:
      layout: how each array is read as matrices.
      arrays: one per parameter.
    """

    def __init__(self, layout: Layout, arrays: Sequence[Array]):
        self._layout = layout
        self._arrays = [array.reshape(layout.sizes) for array in arrays]
        self.count = len(arrays) * layout.count
        self.short = layout.size(layout.short)
        self.long = layout.size(layout.long)

    def times(self, block: Float[Array, "n s b"], active: Bool[Array, " n"]) -> Float[Array, "n l b"]:
        """`A X`; zero for a parameter none of whose matrices is active, which is not read where it has company."""
        return self._each(block, active, self._layout.short, self._layout.long)

    def transposed_times(
        self, block: Float[Array, "n l b"], active: Bool[Array, " n"]
    ) -> Float[Array, "n s b"]:
        """`A^T Y`, likewise."""
        return self._each(block, active, self._layout.long, self._layout.short)

    def norms(self, scale: Float[Array, " n"]) -> Float[Array, " n"]:
        """Frobenius norms.

        Args:
          scale: about each matrix's largest singular value, so that squares neither overflow nor vanish.
        """
        copies = self._layout.copies
        summed = tuple(axis for axis in range(len(self._layout.sizes)) if axis not in copies)
        shape = tuple(size if axis in copies else 1 for axis, size in enumerate(self._layout.sizes))
        norms = []
        for array, part in zip(self._arrays, scale.reshape(len(self._arrays), -1), strict=True):
            squares = jnp.sum((array.astype(jnp.float32) / part.reshape(shape)) ** 2, axis=summed)
            norms.append(jnp.sqrt(squares).reshape(-1) * part)
        return jnp.concatenate(norms)

    def _each(
        self, block: Array, active: Array, contracted: tuple[int, ...], kept: tuple[int, ...]
    ) -> Float[Array, "n r b"]:
        blocks = block.reshape(len(self._arrays), self._layout.count, -1, block.shape[-1])
        if len(self._arrays) == 1:
            return self._product(self._arrays[0], blocks[0], contracted, kept)
        wanted = jnp.any(active.reshape(len(self._arrays), -1), axis=1)
        shape = (self._layout.count, self._layout.size(kept), block.shape[-1])
        return jnp.concatenate(
            [
                lax.cond(
                    wanted[index],
                    lambda array=array, thin=blocks[index]: self._product(array, thin, contracted, kept),
                    lambda: jnp.zeros(shape, jnp.float32),
                )
                for index, array in enumerate(self._arrays)
            ]
        )

    def _product(
        self, array: Array, thin: Float[Array, "c r b"], contracted: tuple[int, ...], kept: tuple[int, ...]
    ) -> Float[Array, "c q b"]:
        layout, columns = self._layout, thin.shape[-1]
        copies = layout.copies
        thin = thin.reshape(*(layout.sizes[axis] for axis in (*copies, *contracted)), columns)
        inner = (contracted, tuple(range(len(copies), len(copies) + len(contracted))))
        batch = (copies, tuple(range(len(copies))))
        # On CPU XLA turns an operand whose contracted axes are not where its kernels want them: along the minor
        # axes for a left one, the major ones for a right one. A thin block may be turned, a matrix must not.
        if max(contracted) > max(kept):
            result = _dot(array, thin, inner, batch)
        else:
            result = _dot(thin, array, (inner[1], inner[0]), (batch[1], batch[0]))
            result = jnp.moveaxis(lax.optimization_barrier(result), len(copies), -1)
        return result.reshape(layout.count, layout.size(kept), columns)


def _dot(
    lhs: Array,
    rhs: Array,
    contracted: tuple[tuple[int, ...], tuple[int, ...]],
    batch: tuple[tuple[int, ...], tuple[int, ...]],
) -> Array:
    return lax.dot_general(
        lhs,
        rhs,
        (contracted, batch),
        precision=lax.Precision.HIGHEST,
        preferred_element_type=jnp.float32,
    )
