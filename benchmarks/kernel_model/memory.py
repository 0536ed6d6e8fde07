"""Global and shared memory of the blocks that run, and how each access moves through them.

A warp's access to global memory is counted in sectors of 32 bytes and lines of 128, one to shared
memory in passes: how often its busiest bank is needed. What a block reads again comes from L1.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np

PAGE, SECTOR, LINE, BANKS = 4096, 32, 128, 32
SECTORS = PAGE // SECTOR  # of a page


def own_memory(page: int) -> bytes:
    """Give a page of this process, in which the emulator's tensors lie.

    Raises:
        IndexError: nothing is there.
    """
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        try:
            return os.pread(memory.fileno(), PAGE, page * PAGE)
        except OSError:
            raise IndexError(f"nothing is at {page * PAGE:#x} of global memory") from None


class GlobalMemory:
    """Pages as they are needed; what is written stays here."""

    def __init__(self, blocks: int, read_page: Callable[[int], bytes]) -> None:
        self._read_page = read_page
        self._numbers = np.zeros(0, np.int64)  # of the pages held, in order
        self._rows = np.zeros(0, np.int64)
        self.bytes = np.zeros((0, PAGE), np.uint8)
        self.read_by = np.zeros((0, SECTORS, blocks), bool)  # which block has read a sector
        self.written_by = np.zeros((0, SECTORS, blocks), bool)

    def rows(self, address: np.ndarray) -> np.ndarray:
        """Give the row of each address's page, after fetching what is missing."""
        number = address // PAGE
        if not self._known(number):
            self._fetch(np.setdiff1d(number, self._numbers))
        return self._rows[np.searchsorted(self._numbers, number)]

    def _known(self, number: np.ndarray) -> bool:
        if not len(self._numbers):
            return False
        place = np.minimum(np.searchsorted(self._numbers, number), len(self._numbers) - 1)
        return bool((self._numbers[place] == number).all())

    def _fetch(self, missing: np.ndarray) -> None:
        first = len(self._numbers)
        if first + len(missing) > len(self.bytes):
            more = max(256, len(self.bytes), len(missing))
            for name in ("bytes", "read_by", "written_by"):
                old = getattr(self, name)
                setattr(
                    self, name, np.concatenate([old, np.zeros((more, *old.shape[1:]), old.dtype)])
                )
        for row, number in enumerate(missing.tolist(), first):
            self.bytes[row] = np.frombuffer(self._read_page(number), np.uint8)
        numbers = np.concatenate([self._numbers, missing])
        rows = np.concatenate([self._rows, np.arange(first, first + len(missing))])
        order = np.argsort(numbers)
        self._numbers, self._rows = numbers[order], rows[order]

    def load(self, row: np.ndarray, within: np.ndarray, size: int) -> np.ndarray:
        """Read ``size`` bytes at each place as little-endian words, one row of them a word."""
        return load_words(self.bytes.reshape(-1), row * PAGE + within, size)

    def store(
        self, row: np.ndarray, within: np.ndarray, words: list[np.ndarray], size: int
    ) -> None:
        store_words(self.bytes.reshape(-1), row * PAGE + within, words, size)

    def pages(self) -> dict[int, bytes]:
        """Give all pages as they are now."""
        pairs = zip(self._numbers.tolist(), self._rows.tolist(), strict=True)
        return {number: self.bytes[row].tobytes() for number, row in pairs}


def load_words(flat: np.ndarray, at: np.ndarray, size: int) -> np.ndarray:
    """Read 1, 2, 4, 8 or 16 bytes at each place of an array of bytes."""
    if size < 4:
        return flat.view(f"u{size}")[at // size].astype(np.uint32)[None]
    words = flat.view(np.uint32)
    return np.stack([words[at // 4 + word] for word in range(size // 4)])


def store_words(flat: np.ndarray, at: np.ndarray, words: list[np.ndarray], size: int) -> None:
    """Write 1, 2, 4, 8 or 16 bytes at each place of an array of bytes."""
    if size < 4:
        flat.view(f"u{size}")[at // size] = words[0].astype(f"u{size}")
        return
    for number, word in enumerate(words):
        flat.view(np.uint32)[at // 4 + number] = word


def distinct(warp: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the different pairs of a warp and a place that it asks for."""
    most = int(place.max()) + 1
    pairs = np.unique(warp * most + place)
    return pairs // most, pairs % most


def bank_passes(warp: np.ndarray, lane: np.ndarray, at: np.ndarray, size: int) -> np.ndarray:
    """Say how often shared memory is gone through for each warp's access; index: the warp.

    Accesses of 8 and 16 bytes are served for half and for a quarter of the lanes at a time; lanes
    that want the same word share it.

    Example:
        >>> lane = np.arange(32)
        >>> [int(bank_passes(lane * 0, lane, lane * step, 4)[0]) for step in (4, 8, 128)]
        [1, 2, 32]
    """
    words = max(1, size // 4)
    group = warp * words + lane // (32 // words)
    word = (at // 4)[:, None] + np.arange(words)
    group = np.repeat(group, words)
    groups, word = distinct(group, word.reshape(-1))
    busiest = np.bincount(groups * BANKS + word % BANKS)
    busiest = np.pad(busiest, (0, -len(busiest) % (BANKS * words)))
    return busiest.reshape(-1, BANKS).max(axis=1).reshape(-1, words).sum(axis=1)
