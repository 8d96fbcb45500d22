"""Many numbers in little text: float32, rounded to what a reader can see, by byte planes, deflated, base64."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

Reference = tuple[int, int]
"""Where a series lies: its first number and how many there are."""

EXACT, FINE, ROUGH = 23, 15, 10
"""Bits of the mantissa that are kept: all; 5 digits; 3 digits."""


class Packer:
    """Collects series of numbers; equal ones are kept once."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []
        self._known: dict[bytes, Reference] = {}
        self._count = 0

    def add(self, values: np.ndarray, bits: int = ROUGH) -> Reference:
        """Returns where the values will lie.

        Args:
          values: finite or not.
          bits: of the mantissa that are kept.
        """
        words = np.ascontiguousarray(_float32(values)).view(np.uint32)
        if bits < EXACT:
            drop = EXACT - bits
            # Rounding half up may carry into the exponent, which is right; those that are not finite keep theirs.
            finite = (words & 0x7F800000) != 0x7F800000
            rounded = words + np.uint32(1 << (drop - 1))
            words = np.where(finite, rounded, words) & np.uint32((0xFFFFFFFF << drop) & 0xFFFFFFFF)
            words = np.where(finite | (words & 0x7FFFFF == 0), words, np.uint32(0x7FC00000)).astype(np.uint32)
        key = words.tobytes()
        if key not in self._known:
            self._known[key] = (self._count, len(words))
            self._parts.append(words)
            self._count += len(words)
        return self._known[key]

    def packed(self) -> dict[str, Any]:
        """Returns all that was added as JSON types."""
        words = np.concatenate([*self._parts, np.zeros(0, np.uint32)]).astype("<u4")
        planes = words.view(np.uint8).reshape(-1, 4).T
        text = base64.b64encode(zlib.compress(np.ascontiguousarray(planes).tobytes(), 6)).decode()
        return {"count": len(words), "planes": text}


def unpack(packed: dict[str, Any]) -> np.ndarray:
    """Returns all numbers, as the page sees them.

    Args:
      packed: what `Packer.packed` returned.

    Example:
      >>> packer = Packer()
      >>> start, count = packer.add(np.array([1.0, np.inf]))
      >>> unpack(packer.packed())[start : start + count].tolist()
      [1.0, inf]
    """
    planes = np.frombuffer(zlib.decompress(base64.b64decode(packed["planes"])), np.uint8)
    return np.ascontiguousarray(planes.reshape(4, -1).T).view("<f4").reshape(-1)


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(values).astype(np.float32)
