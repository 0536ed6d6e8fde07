"""The published settings of every strategy."""

from __future__ import annotations

from dataclasses import replace

from adarts_ext.search.config import SearchConfig

DARTS = SearchConfig(
    strategy="darts",
    selection="all",
    proportion=1,
    edge_normalization=False,
    epochs=50,
    warmup_epochs=0,
    learning_rate_min=0.001,
    arch_learning_rate=3e-4,
)

DRNAS = SearchConfig(
    strategy="drnas",
    init_channels=36,
    layers=20,
    proportion=6,
    selection="first",
    edge_normalization=False,
    epochs=50,
    warmup_epochs=10,
    learning_rate=0.1,
)

#: The published settings; what is not named is as in :class:`SearchConfig`. Those that search in
#: DARTS's network have its settings but for what is said here.
PRESETS = {
    "adarts": SearchConfig(),
    "pc-darts": SearchConfig(
        strategy="pc-darts", selection="first", epochs=50, batch_size=256, learning_rate=0.1
    ),
    "darts": DARTS,
    # DARTS+ stops at two skip connections, R-DARTS by the eigenvalue.
    "early-stop": replace(
        DARTS, strategy="early-stop", collapse_skips=2, hessian_every=1, stop_on_collapse=True
    ),
    "darts-minus": replace(DARTS, strategy="darts-minus"),
    "fair-darts": replace(
        DARTS,
        strategy="fair-darts",
        batch_size=128,
        learning_rate=0.005,
        arch_learning_rate=3e-3,
        arch_beta1=0.9,
    ),
    "sdarts-rs": replace(DARTS, strategy="sdarts-rs"),
    "sdarts-adv": replace(DARTS, strategy="sdarts-adv"),
    "gdas": replace(DARTS, strategy="gdas", epochs=250, batch_size=256, weight_decay=5e-4),
    "drnas": DRNAS,
    "drnas-kl": replace(DRNAS, strategy="drnas-kl", arch_weight_decay=0.0),
    "p-darts": replace(
        DARTS,
        strategy="p-darts",
        layers=5,
        epochs=75,
        warmup_epochs=10,
        batch_size=96,
        learning_rate_min=0.0,
        arch_learning_rate=6e-4,
    ),
    "beta-darts": replace(DARTS, strategy="beta-darts"),
    "lambda-darts": replace(DARTS, strategy="lambda-darts"),
    "oles": replace(DARTS, strategy="oles"),
}
