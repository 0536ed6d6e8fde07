"""Changes to the BatchNorms of a cell that no fused kernel serves."""

from __future__ import annotations

from torch import nn


def evaluate_one_norm(cell):
    cell._ops[0]._ops[1][1].eval()


def forget_statistics(cell):
    norm = cell._ops[0]._ops[1][1]
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None


def average_statistics(cell):
    for norm in cell.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None
