"""A stage that goes on with what the one before has learned, in candidates of more channels.

DrNAS (arXiv 2006.10355, section 3.3) widens convolutions as Net2Net does (arXiv 1511.05641,
section 2.3): a new channel is a copy of one that was there, drawn at random. As in the code of
DrNAS copies are not scaled, and each depthwise convolution draws its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adarts_ext.nn import PartialMixedOp, SearchNetwork
from adarts_ext.nn.candidates import present
from adarts_ext.nn.operations import FactorizedReduce
from adarts_ext.search.state import SearchState
from adarts_ext.search.step import trained_by

#: Of a layer's tensors, which entry of each axis every new one is a copy of.
Sources = tuple[Tensor, ...]


@torch.no_grad()
def carry_over(old: SearchState, new: SearchState) -> None:
    """Put the weights, statistics, alphas and optimizers' averages of a stage into the next one.

    Args:
        old: What has changed during the stage before.
        new: What the next stage begins with: its network has as many cells, and on every edge the
            same candidates or fewer, on as many channels or more.
    """
    layers, sources = dict(old.network.named_modules()), sources_of(old.network, new.network)
    momenta = momentum_of(old), momentum_of(new)
    for name, layer in new.network.named_modules():
        of_layer = sources.get(name, ())
        for part, target in (*layer._buffers.items(), *layer._parameters.items()):
            before = getattr(layers[name], part)
            if target is None or before is None:
                continue
            target.copy_(taken(before, of_layer))
            if id(target) in momenta[1]:
                momenta[1][id(target)].copy_(taken(momenta[0][id(before)], of_layer))
    arch = old.network.arch_parameters(), new.network.arch_parameters()
    for before, target in zip(*arch, strict=True):
        target.copy_(torch.where(present(target), before, target))
    new.arch_optimizer.load_state_dict(old.arch_optimizer.state_dict())


def taken(tensor: Tensor, sources: Sources) -> Tensor:
    """Return the entries that a layer's new tensor is made of; counters are of no axis."""
    for axis, places in enumerate(sources[: tensor.dim()]):
        tensor = tensor.index_select(axis, places.to(tensor.device))
    return tensor


def sources_of(old: SearchNetwork, new: SearchNetwork) -> dict[str, Sources]:
    """Draw what the layers of wider candidates are copies of, by the names of the layers."""
    edges, found = dict(old.named_modules()), {}
    for name, edge in new.named_modules():
        if not isinstance(edge, PartialMixedOp):
            continue
        channels = edges[name].selected_channels, edge.selected_channels
        if channels[0] == channels[1]:
            continue
        for place, operation in enumerate(edge._ops):
            for layer, of_layer in _sources(operation, *channels).items():
                found[f"{name}._ops.{place}.{layer}"] = of_layer
    return found


def _sources(operation: nn.Module, before: int, after: int) -> dict[str, Sources]:
    if isinstance(operation, FactorizedReduce):
        halves = [_draw(before // 2, after // 2) for _ in range(2)]
        return {
            "conv_1": (halves[0], _draw(before, after)),
            "conv_2": (halves[1], _draw(before, after)),
            "bn": (torch.cat([halves[0], before // 2 + halves[1]]),),
        }
    found: dict[str, Sources] = {}
    last = None  # those of the convolution before
    for name, layer in operation.named_modules():
        if isinstance(layer, nn.Conv2d):
            drawn = _draw(before, after)
            inputs = _draw(before, after) if last is None else last
            found[name] = (drawn,) if layer.groups > 1 else (drawn, inputs)
            last = drawn
        elif isinstance(layer, nn.BatchNorm2d):
            found[name] = (_draw(before, after) if last is None else last,)
    return found


def _draw(before: int, after: int) -> Tensor:
    return torch.cat([torch.arange(before), torch.randint(before, (after - before,))])


def momentum_of(state: SearchState) -> dict[int, Tensor]:
    """Return the momentum of each of the layers' weights, by its id; nothing where there is none.

    Where weights lie end to end it is a view of theirs.
    """
    optimizer = state.weight_optimizer
    found = {
        id(weight): optimizer.state[weight]["momentum_buffer"]
        for weight in trained_by(optimizer)
        if "momentum_buffer" in optimizer.state[weight]
    }
    for cell in state.network.cells:
        if cell.flat is not None and id(cell.flat) in found:
            weights = cell.candidate_weights()
            parts = found[id(cell.flat)].split([weight.numel() for weight in weights])
            for weight, part in zip(weights, parts, strict=True):
                found[id(weight)] = part.view(weight.shape)
    return found
