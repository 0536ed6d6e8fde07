"""Candidates of one's own: registering them by their names."""

from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import torch
from torch import Tensor, nn

from adarts_ext.arguments import naming
from adarts_ext.genotype.operations import OWN, Builder, OwnOperation, known_operations
from adarts_ext.nn.candidates import SPACES
from adarts_ext.own_file import run_file

#: The files that :func:`load_candidates` has run, for the processes that a run starts.
LOADED: list[str] = []

_TRIED_ON = (2, 16, 16, 16)


def register_candidate(name: str, builder: Builder) -> None:
    """Register a candidate operation of one's own.

    From then on its name may stand wherever that of one of
    :data:`adarts_ext.genotype.PRIMITIVES` may: among the candidates of a supernet, in a space of
    ``adarts search``, in a genotype. Its alphas are a column after those of PRIMITIVES, in the
    networks that have it. The fused kernels do not know it, so cells with it run operator by
    operator.

    The builder is tried out on a small batch first, at both strides, with and without scale and
    shift; so it becomes known, too, whether the operation draws random numbers.

    Args:
        name: Letters, digits and underscores.
        builder: Called with the channels of input and output, the stride (1, or 2 to halve height
            and width) and whether BatchNorms have a scale and a shift: False in the search, True
            in the derived network. It gives a module from (N, C, H, W) to
            (N, C, H / stride, W / stride). One that ends in a BatchNorm without scale and shift, as
            an ``nn.Sequential``, has it done together with the weighted sum.

    Raises:
        ValueError: If the name is no such word, or is taken; if the builder fails, or its module
            fails, or has an output of another shape.
        TypeError: If the builder cannot be called, or gives no module.

    Example:
        >>> def conv_1x1(channels, stride, affine):
        ...     return nn.Sequential(
        ...         nn.ReLU(),
        ...         nn.Conv2d(channels, channels, 1, stride, bias=False),
        ...         nn.BatchNorm2d(channels, affine=affine),
        ...     )
        >>> register_candidate("conv_1x1", conv_1x1)
        >>> from adarts_ext.nn import SearchNetwork
        >>> network = SearchNetwork(4, layers=3, candidates=["skip_connect", "conv_1x1"])
        >>> network.alphas_normal.shape, network.cells[0].kernels()
        (torch.Size([14, 9]), 'operator by operator (no kernels for candidate conv_1x1)')
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise ValueError(
            "register_candidate: name: expected letters, digits and underscores, a letter first, "
            f"got {name!r}"
        )
    if name in known_operations() or name in SPACES:
        kind = "a space" if name in SPACES else "a candidate"
        raise ValueError(f"register_candidate: name: {kind} is called {name} already")
    if not callable(builder):
        raise TypeError(
            f"register_candidate: {name}: builder: expected a function of (channels, stride, "
            f"affine), got {builder!r}"
        )
    draws = [_try_out(name, builder, *how) for how in product((1, 2), (False, True))]
    OWN[name] = OwnOperation(builder, any(draws))


def load_candidates(path: str | Path) -> None:
    """Run a Python file that registers candidates; a second time nothing happens.

    **The file is run**, with all that it may do. Unlike what a program registers itself, the
    candidates of a file are known, too, to the processes that a run starts on other GPUs and
    machines.

    Args:
        path: The file.

    Raises:
        ValueError: If it is not there, fails, or registers nothing.
    """
    place = str(Path(path).resolve())
    if place in LOADED:
        return
    before = dict(OWN)
    try:
        run_file(path, "candidates")
        if before == OWN:
            raise ValueError(f"{path}: expected calls of register_candidate, got none")
    except ValueError as error:
        OWN.clear()
        OWN.update(before)
        raise naming(ValueError(f"candidates: {error}"), "candidates") from error
    LOADED.append(place)


def candidate_options() -> list[str]:
    """Return the options with which a command knows the candidates that were loaded from files.

    Example:
        >>> candidate_options()
        []
    """
    return [word for file in LOADED for word in ("--candidates", file)]


def _try_out(name: str, builder: Builder, stride: int, affine: bool) -> bool:
    """Return whether an operation draws random numbers; refuse one that is none."""
    channels = _TRIED_ON[1]
    where = f"register_candidate: {name}: builder({channels}, {stride}, {affine})"
    with torch.random.fork_rng(devices=[]), torch.device("cpu"), torch.no_grad():
        x = torch.randn(_TRIED_ON)
        try:
            module = builder(channels, stride, affine)
        except Exception as error:
            raise ValueError(f"{where}: {type(error).__name__}: {error}") from error
        if not isinstance(module, nn.Module):
            raise TypeError(f"{where}: expected a torch.nn.Module, got {module!r}")
        before = torch.get_rng_state()
        try:
            y = module(x)
        except Exception as error:
            got = f"{type(error).__name__}: {error}"
            raise ValueError(f"{where}: on a batch of shape {_TRIED_ON}: {got}") from error
        draws = not torch.equal(before, torch.get_rng_state())
    expected = (*_TRIED_ON[:2], _TRIED_ON[2] // stride, _TRIED_ON[3] // stride)
    got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
    if got != expected:
        raise ValueError(f"{where}: expected an output of shape {expected}, got {got}")
    return draws
