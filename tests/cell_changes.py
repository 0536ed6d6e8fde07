"""Changes to a cell, of ours or of other code, that no fused kernel serves."""

from __future__ import annotations

import torch
from torch import nn


def exchange_layer(cell):
    cell._ops[3]._ops[4].op[0] = nn.GELU()


def exchange_preprocessing(cell):
    cell.preprocess1.op[0] = nn.Identity()


def make_affine(cell):
    layers = cell._ops[2]._ops[5].op
    layers[7] = nn.BatchNorm2d(layers[7].num_features)
    nn.init.constant_(layers[7].weight, 2.0)


def dilate(cell):
    convolution = cell._ops[1]._ops[4].op[1]
    convolution.dilation, convolution.padding = (2, 2), (2, 2)


def add_bias(cell):
    convolution = cell._ops[1]._ops[6].op[2]
    convolution.bias = nn.Parameter(torch.randn(convolution.out_channels))


def replace_forward(cell):
    layer = cell._ops[0]._ops[4].op[2]
    layer.forward = lambda x: nn.Conv2d.forward(layer, x).abs()


def scale_output(cell):
    cell._ops[2]._ops[7].register_forward_hook(lambda module, inputs, y: 2 * y)


def evaluate_one_norm(cell):
    cell._ops[0]._ops[1][1].eval()


def forget_statistics(cell):
    norm = cell._ops[0]._ops[1][1]
    norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None


def average_statistics(cell):
    for norm in cell.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None


CHANGES = [
    (exchange_layer, "a layer was exchanged"),
    (exchange_preprocessing, "a layer was exchanged"),
    (make_affine, "a layer was exchanged"),
    (dilate, "a Conv2d was changed"),
    (add_bias, "a Conv2d has a bias"),
    (replace_forward, "a layer has another forward function"),
    (scale_output, "a layer has hooks"),
    (evaluate_one_norm, "the BatchNorms differ"),
    (forget_statistics, "a BatchNorm2d was changed"),
    (average_statistics, "a BatchNorm keeps other running statistics"),
]
# What changes no output in training: the batch's statistics are used, a bias is removed.
WITHOUT_EFFECT = (forget_statistics, average_statistics, add_bias)
