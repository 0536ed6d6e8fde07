"""Arrays for the bare launchers, and comparisons with numpy.

Every array is allocated to measure, results are not-a-number before a kernel writes them, and
numbers are whole and small, so that sums are exact in any order.
"""

from __future__ import annotations

from types import ModuleType

import numpy as np

SHAPES = [(1, 1, 1, 1), (2, 3, 5, 7), (3, 8, 4, 4), (2, 33, 3, 1), (1, 5, 33, 32), (0, 4, 3, 3)]
LAYOUTS = ["planar", "interleaved", "channel_slice", "interleaved_slice", "misaligned"]


class Launchers:
    """The launchers of one dtype, and arrays of it."""

    def __init__(self, module: ModuleType, dtype: str):
        self.module = module
        self.dtype = dtype
        self.random = np.random.default_rng(0)

    def run(self, name: str, *fields: object) -> object:
        return getattr(self.module, f"{name}_{self.dtype}")(*fields)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.random.integers(-4, 5, shape).astype(self.dtype)

    def unset(self, *shape: int, dtype: str | None = None) -> np.ndarray:
        return np.full(shape, np.nan if dtype is None else -1, dtype or self.dtype)

    def unset_map(self, shape: tuple[int, ...], layout: str) -> np.ndarray:
        n, c, h, w = shape
        if layout == "interleaved":
            return self.unset(n, h, w, c).transpose(0, 3, 1, 2)
        if layout == "channel_slice":
            return self.unset(n, c + 3, h, w)[:, 3:]
        if layout == "interleaved_slice":
            return self.unset(n, h, w, c + 3).transpose(0, 3, 1, 2)[:, 3:]
        if layout == "misaligned":
            return self.unset(n * c * h * w + 1)[1:].reshape(shape)
        return self.unset(*shape)

    def map(self, shape: tuple[int, ...], layout: str) -> np.ndarray:
        out = self.unset_map(shape, layout)
        out[...] = self.numbers(*shape)
        return out

    def index(self, channels: int, k: int, distinct: bool = False) -> np.ndarray:
        return self.random.choice(channels, k, replace=not distinct).astype(np.int64)


def same(name: str, actual: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(actual, expected.astype(actual.dtype), err_msg=name)


def close(name: str, actual: np.ndarray, expected: np.ndarray, size: np.ndarray, terms: int):
    """Compare sums of so many terms whose absolute values sum up to ``size``."""
    allowed = 4 * (terms + 4) * np.finfo(actual.dtype).eps * np.maximum(size, 1e-30)
    wrong = np.abs(actual.astype(np.float64) - expected)
    assert (wrong <= allowed).all(), f"{name}: error {wrong.max()}, allowed {allowed.min()}"
