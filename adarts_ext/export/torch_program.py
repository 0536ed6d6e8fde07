"""A network as a program of ``torch.export``, which torch loads and runs by itself."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from torch import Tensor, nn


def to_bytes(network: nn.Module, images: Tensor, metadata: dict[str, str]) -> bytes:
    """Trace a network on a batch of images; return what a file of it holds."""
    program = torch.export.export(
        network, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine
    file = io.BytesIO()
    torch.export.save(program, file, extra_files=metadata)
    return file.getvalue()


def load(content: bytes) -> Callable[[Tensor], Tensor]:
    """Load what :func:`to_bytes` returned: a function from images to logits."""
    return torch.export.load(io.BytesIO(content)).module()
