"""Published genotypes."""

from __future__ import annotations

from adarts_ext.genotype.structure import Genotype

# One node to a line.
# fmt: off

#: Released by the authors of ADARTS.
ADARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0),
        ("skip_connect", 0), ("dil_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("max_pool_3x3", 0), ("dil_conv_3x3", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("dil_conv_5x5", 1),
        ("dil_conv_3x3", 2), ("max_pool_3x3", 0),
        ("skip_connect", 2), ("skip_connect", 3),
        ("dil_conv_3x3", 2), ("avg_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Released by the authors of ADARTS.
ADARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("dil_conv_5x5", 2),
        ("skip_connect", 3), ("sep_conv_3x3", 1),
        ("dil_conv_5x5", 3), ("skip_connect", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_3x3", 1), ("avg_pool_3x3", 0),
        ("max_pool_3x3", 1), ("sep_conv_3x3", 2),
        ("max_pool_3x3", 0), ("sep_conv_5x5", 3),
        ("max_pool_3x3", 1), ("max_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by PC-DARTS (arXiv 1907.05737) on CIFAR-10.
PC_DARTS = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("skip_connect", 0),
        ("sep_conv_3x3", 0), ("dil_conv_3x3", 1),
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 1),
        ("avg_pool_3x3", 0), ("dil_conv_3x3", 1),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_5x5", 1), ("max_pool_3x3", 0),
        ("sep_conv_5x5", 1), ("sep_conv_5x5", 2),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 2),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by PC-DARTS (arXiv 1907.05737) on ImageNet.
PC_DARTS_IMAGENET = Genotype(
    normal=(
        ("skip_connect", 1), ("sep_conv_3x3", 0),
        ("sep_conv_3x3", 0), ("skip_connect", 1),
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 3),
        ("sep_conv_3x3", 1), ("dil_conv_5x5", 4),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("sep_conv_3x3", 0), ("skip_connect", 1),
        ("dil_conv_5x5", 2), ("max_pool_3x3", 1),
        ("sep_conv_3x3", 2), ("sep_conv_3x3", 1),
        ("sep_conv_5x5", 0), ("sep_conv_3x3", 3),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by first-order DARTS (arXiv 1806.09055) on CIFAR-10.
DARTS_V1 = Genotype(
    normal=(
        ("sep_conv_3x3", 1), ("sep_conv_3x3", 0),
        ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("skip_connect", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("skip_connect", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1),
        ("skip_connect", 2), ("max_pool_3x3", 0),
        ("max_pool_3x3", 0), ("skip_connect", 2),
        ("skip_connect", 2), ("avg_pool_3x3", 0),
    ),
    reduce_concat=(2, 3, 4, 5),
)

#: Found by second-order DARTS (arXiv 1806.09055) on CIFAR-10.
DARTS_V2 = Genotype(
    normal=(
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 0), ("sep_conv_3x3", 1),
        ("sep_conv_3x3", 1), ("skip_connect", 0),
        ("skip_connect", 0), ("dil_conv_3x3", 2),
    ),
    normal_concat=(2, 3, 4, 5),
    reduce=(
        ("max_pool_3x3", 0), ("max_pool_3x3", 1),
        ("skip_connect", 2), ("max_pool_3x3", 1),
        ("max_pool_3x3", 0), ("skip_connect", 2),
        ("skip_connect", 2), ("max_pool_3x3", 1),
    ),
    reduce_concat=(2, 3, 4, 5),
)

# fmt: on

#: The published genotypes by name.
KNOWN = {
    "ADARTS_V1": ADARTS_V1,
    "ADARTS_V2": ADARTS_V2,
    "PC_DARTS": PC_DARTS,
    "PC_DARTS_IMAGENET": PC_DARTS_IMAGENET,
    "DARTS_V1": DARTS_V1,
    "DARTS_V2": DARTS_V2,
}
