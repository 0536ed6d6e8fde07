"""Every operator and the plain torch sequence it replaces, one module an operator, by its name."""

from adarts_ext.bench.operators import (
    channel_attention,
    gather_channels,
    mixed_sum,
    normalized_mixed_sum,
    scatter_channels,
    select_channels,
)

OPERATORS = {
    "channel_attention": channel_attention,
    "select_channels": select_channels,
    "gather_channels": gather_channels,
    "scatter_channels": scatter_channels,
    "mixed_sum": mixed_sum,
    "normalized_mixed_sum": normalized_mixed_sum,
}
PROPORTION = 4
#: Channels and side of the supernet's three stages.
STAGES = ((16, 32), (32, 16), (64, 8))
