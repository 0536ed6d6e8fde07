"""Genotypes: which two edges, and which operation on each, a searched cell keeps for every node."""

from adarts_ext.genotype.at_random import random_genotype
from adarts_ext.genotype.cell_graph import PRIMITIVES, count_nodes, incoming_edges, state_name
from adarts_ext.genotype.magnitude import derive, operation_weights
from adarts_ext.genotype.published import (
    ADARTS_V1,
    ADARTS_V2,
    DARTS_V1,
    DARTS_V2,
    KNOWN,
    PC_DARTS,
    PC_DARTS_IMAGENET,
)
from adarts_ext.genotype.scores import derive_from_scores
from adarts_ext.genotype.structure import Genotype

__all__ = [
    "ADARTS_V1",
    "ADARTS_V2",
    "DARTS_V1",
    "DARTS_V2",
    "KNOWN",
    "PC_DARTS",
    "PC_DARTS_IMAGENET",
    "PRIMITIVES",
    "Genotype",
    "count_nodes",
    "derive",
    "derive_from_scores",
    "incoming_edges",
    "operation_weights",
    "random_genotype",
    "state_name",
]
