"""Drawing without replacement from a huge index range, without storing it."""

from __future__ import annotations

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed

_ROUNDS = 6
_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """A well-scattering bijection of 64-bit integers (the finaliser of SplitMix64, Steele et al. 2014)."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


class SeededPermutation:
    """A pseudo-random bijection of `range(size)` that depends on `purpose` alone.

    A balanced Feistel network over the next even number of bits, walked until it lands inside the range
    (cycle walking; Black and Rogaway 2002), so element i costs a few hashes whatever `size` is, and no
    element depends on how many others are drawn.
    """

    def __init__(self, size: int, *purpose: str | int | bytes) -> None:
        if size < 1:
            raise InputError(f"Cannot permute {size} items: give at least one.")
        self.size = size
        self._half = max(1, ((size - 1).bit_length() + 1) // 2)
        self._keys = [derive_seed("permutation", *purpose, round_) for round_ in range(_ROUNDS)]

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> int:
        """The image of `index`; raises `IndexError` outside `range(size)`."""
        if not 0 <= index < self.size:
            raise IndexError(f"index {index} is outside range({self.size})")
        value = self._once(index)
        while value >= self.size:
            value = self._once(value)
        return value

    def _once(self, value: int) -> int:
        mask = (1 << self._half) - 1
        left, right = value >> self._half, value & mask
        for key in self._keys:
            left, right = right, left ^ (_mix((key + right * 0x9E3779B97F4A7C15) & _MASK) & mask)
        return (left << self._half) | right
