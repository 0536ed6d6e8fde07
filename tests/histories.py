"""Histories of searches that were never made, to draw."""

from __future__ import annotations

import numpy as np

from adarts_ext.genotype import incoming_edges


def make_history(epochs, steps=4, with_betas=True, warmup=0, spread=1.0):
    """The history of a search whose weights lie at random; all equal for a spread of 0."""
    generator = np.random.default_rng(0)
    nodes = [edges.stop - edges.start for edges in incoming_edges(steps)]

    def weights(*shape):
        drawn = generator.dirichlet(np.ones(shape[-1]), shape[:-1])
        return (spread * drawn + (1 - spread) / shape[-1]).tolist()

    return [
        {
            "epoch": epoch,
            **{f"alphas_{cell}": weights(sum(nodes), 8) for cell in ("normal", "reduce")},
            **{
                f"betas_{cell}": [b for n in nodes for b in weights(n)] if with_betas else None
                for cell in ("normal", "reduce")
            },
            "skip_connections_normal": epoch % 4,
            "skip_connections_reduce": 0,
            "arch_loss": None if epoch <= warmup else 1.0,
            "train_loss": 2.3 / epoch,
            "train_accuracy": 1 - 0.9 / epoch,
            "validation_loss": 2.4 / epoch,
            "validation_accuracy": 1 - 0.95 / epoch,
        }
        for epoch in range(1, epochs + 1)
    ]
