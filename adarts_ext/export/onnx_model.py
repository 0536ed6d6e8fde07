"""A network as an ONNX model. Importing this needs the extra ``export``."""

from __future__ import annotations

from collections.abc import Callable

import onnxruntime
import onnxscript  # noqa: F401  (torch.onnx makes models by it)
import torch
from torch import Tensor, nn

INPUT, OUTPUT = "images", "logits"


def to_bytes(network: nn.Module, images: Tensor, metadata: dict[str, str]) -> bytes:
    """Trace a network on a batch of images; return what a file of it holds."""
    program = torch.onnx.export(
        network,
        (images,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    for node in program.model.graph.all_nodes():
        node.metadata_props.pop("pkg.torch.onnx.stack_trace", None)  # the paths of this machine
    program.model.metadata_props.update(metadata)
    return program.model_proto.SerializeToString()


def load(content: bytes) -> Callable[[Tensor], Tensor]:
    """Load what :func:`to_bytes` returned into onnxruntime: a function from images to logits."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run([OUTPUT], {INPUT: images.numpy()})[0])

    return run
