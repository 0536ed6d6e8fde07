"""Which blocks of a launch are run, and which of them stands for each of the others."""

from __future__ import annotations

import numpy as np

from .state import Launch

THREADS = 8192  # about so many are run
GOLDEN = 0.618034  # multiples of it, modulo 1, lie evenly


def sample(
    launch: Launch, threads: int = THREADS, alike: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Choose blocks to be run.

    Kernels here divide their pixels among blockIdx.x, and different works among y and z. So from
    every (y, z) neighbours in x are taken, at least two, each time from another place. Where there
    are too many (y, z) for that, some of them stand for all, spread over the grid: what a block
    does may depend on its channel, and a few that lie side by side would tell of those alone.

    Args:
        launch: its grid and block.
        threads: about how many threads to run; a launch of fewer runs whole.
        alike: all (y, z) do the same. Where there are too many of them, neighbours of the whole
            grid are taken, which show best what blocks read of each other.

    Returns:
        The numbers of the blocks that run, and for every block of the launch the place in them of
        the one that stands for it.

    Example:
        >>> run, stands_for = sample(Launch("k", (8, 2, 1), (64, 1, 1), 0, b""), 256)
        >>> run.tolist(), stands_for.tolist()
        ([0, 1, 12, 13], [0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3])
        >>> run, stands_for = sample(Launch("k", (2, 9, 1), (64, 1, 1), 0, b""), 256)
        >>> run.tolist(), stands_for.tolist()
        ([0, 1, 14, 15], [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3, 2, 3])
        >>> run, stands_for = sample(Launch("k", (2, 9, 1), (64, 1, 1), 0, b""), 256, alike=True)
        >>> run.tolist(), stands_for.tolist()
        ([0, 1, 2, 3], [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1])
    """
    blocks, wide = launch.blocks, launch.grid[0]
    most = max(2, threads // launch.threads)
    if blocks <= most:
        return np.arange(blocks), np.arange(blocks)
    works = blocks // wide
    neighbours = min(wide, max(2, most // works))
    if alike and works * neighbours > 2 * most:
        works, wide, neighbours = 1, blocks, most
    some = works if works * neighbours <= 2 * most else max(1, most // neighbours)
    chosen = []
    for number in range(some):
        work = int((number + number * GOLDEN % 1) * works / some)  # no period of the grid's
        first = int(work * GOLDEN % 1 * (wide - neighbours + 1))
        chosen.append(work * wide + first + np.arange(neighbours))
    stands_for = np.arange(wide) % neighbours
    return (
        np.concatenate(chosen),
        np.concatenate([work * some // works * neighbours + stands_for for work in range(works)]),
    )
