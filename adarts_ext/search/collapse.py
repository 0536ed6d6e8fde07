"""Whether a search collapses: its cells fill up with operations that have no weights."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from torch import nn

from adarts_ext.genotype import Genotype, count_nodes
from adarts_ext.runs.options import check_range
from adarts_ext.search.architecture import describe_architecture

WINDOW = 5  # eigenvalues that are averaged
LARGEST_RATIO = 0.75  # of an earlier average to the present one, below which they have grown


class CollapseMonitor:
    """Looks at alphas and betas after every epoch of a search, and tells signs of a collapse.

    The signs, each of which is a warning:

    - ``collapse_skips`` or more of the normal cell's operations are skip connections. DARTS+
      (arXiv 1909.06035, section 3.3) stops at 2, which the published cells of ADARTS and DARTS have
      too, so that 3 is the default here.
    - No operation of the normal cell has weights: all are skip connections and poolings.
    - The largest eigenvalue of the validation loss's Hessian has grown: the mean of the five before
      the last five, divided by that of the last five, is below 0.75 (R-DARTS, arXiv 1909.09656,
      section 4.3, where there is one an epoch). It takes ten of them to tell.

    Args:
        collapse_skips: How many skip connections in the normal cell are a sign.
        warmup_epochs: Epochs at the start that are not judged, as they do not train alphas and
            betas.
        history: What :meth:`observe` gave in the epochs so far, when a search goes on.

    Raises:
        ValueError: If an argument is out of its range.

    Example:
        >>> from adarts_ext.nn import SearchNetwork
        >>> network = SearchNetwork(init_channels=4, layers=3, proportion=2)
        >>> monitor = CollapseMonitor()
        >>> for edge in network.alphas_normal.data:
        ...     edge[3] += 1  # skip_connect
        >>> monitor.observe(network)["collapse"][0]
        "8 of the normal cell's 8 operations are skip connections"
    """

    def __init__(
        self,
        collapse_skips: int = 3,
        warmup_epochs: int = 0,
        history: Iterable[dict[str, Any]] = (),
    ) -> None:
        check_range("collapse_skips", collapse_skips, 1)
        check_range("warmup_epochs", warmup_epochs, 0)
        self.collapse_skips = collapse_skips
        self.warmup_epochs = warmup_epochs
        self._history = list(history)

    def observe(
        self,
        network: nn.Module,
        eigenvalue: float | None = None,
        genotype: Genotype | None = None,
        judged: bool | None = None,
    ) -> dict[str, Any]:
        """Look at a supernet after an epoch.

        Args:
            network: The supernet: its ``alphas_normal`` and ``alphas_reduce``, (edges, 8), and
                where it has them ``betas_normal`` and ``betas_reduce``, (edges,), before the
                softmax, as in :class:`~adarts_ext.nn.SearchNetwork` and the code of DARTS and
                PC-DARTS.
            eigenvalue: What :func:`~adarts_ext.search.largest_hessian_eigenvalue` gave; None if it
                was not measured after this epoch.
            genotype: The genotype that is derived after it; None for that of
                :func:`adarts_ext.genotype.derive`.
            judged: Whether the epoch is; None if those after the warm-up at the start are.

        Returns:
            What :func:`~adarts_ext.search.architecture.describe_architecture` says;
            ``hessian_eigenvalue``; and ``collapse``, a list of the signs, empty where all is well,
            None in the warm-up.

        Raises:
            ValueError: If a shape does not fit or a parameter is not finite.
        """
        record = {**describe_architecture(network, genotype), "hessian_eigenvalue": eigenvalue}
        operations = 2 * count_nodes(len(record["alphas_normal"]))
        if genotype is not None:
            operations = sum(op != "none" for op, _ in genotype.normal)
        self._history.append(record)
        if judged is None:
            judged = len(self._history) > self.warmup_epochs
        record["collapse"] = self._signs(record, operations) if judged else None
        return record

    @property
    def collapsed(self) -> bool:
        """Whether the last epoch had a sign of a collapse."""
        return bool(self._history and self._history[-1].get("collapse"))

    @property
    def last_good_epoch(self) -> int | None:
        """The last epoch, from 1 on, without a sign of a collapse; None if there is none yet.

        Where the eigenvalues have grown it is none after the middle of the five that they are
        compared with, as in R-DARTS.
        """
        growth = self._growth()
        last = growth[0] if growth else len(self._history)
        good = [
            epoch
            for epoch, record in enumerate(self._history[:last], start=1)
            if record.get("collapse") == []
        ]
        return max(good, default=None)

    def _signs(self, record: dict[str, Any], operations: int) -> list[str]:
        signs = []
        skips, poolings = record["skip_connections_normal"], record["poolings_normal"]
        if skips >= self.collapse_skips:
            signs.append(
                f"{skips} of the normal cell's {operations} operations are skip connections"
            )
        if skips + poolings == operations:
            signs.append("no operation of the normal cell has weights")
        growth = self._growth()
        if growth:
            signs.append(growth[1])
        return signs

    def _growth(self) -> tuple[int, str] | None:
        """Return after which epoch the eigenvalues grew, and the sign; None if they did not."""
        measured = [
            (epoch, record["hessian_eigenvalue"])
            for epoch, record in enumerate(self._history, start=1)
            if record.get("hessian_eigenvalue") is not None
        ]
        if len(measured) < 2 * WINDOW:
            return None
        before, now = measured[-2 * WINDOW : -WINDOW], measured[-WINDOW:]
        earlier, present = (statistics.fmean(value for _, value in one) for one in (before, now))
        if earlier >= LARGEST_RATIO * present:
            return None
        return before[WINDOW // 2][0], (
            f"the largest eigenvalue of the Hessian has grown from {earlier:.3g} (epochs "
            f"{before[0][0]} to {before[-1][0]}) to {present:.3g} ({now[0][0]} to {now[-1][0]})"
        )
