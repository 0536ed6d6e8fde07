"""A function of tensors as one CUDA graph: the host launches it once, not kernel by kernel."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

WARM_UP = 3  # calls before the capture, in which optimizers make their state and kernels load


def graphed(function: Callable[..., Any], pool: Any = None) -> Graphed:
    """Have a GPU run a function of tensors, such as a step of a search, as one CUDA graph.

    What a step costs the host, some ten thousand launches in plain torch, falls to one. The first
    three calls run as they are, the fourth is captured, and from then on its kernels are replayed
    on the tensors that a call gives. That holds for tensors of the shapes, dtypes and devices that
    were captured; others, such as a smaller last batch, run as they are. So does everything on the
    CPU, and what cannot be captured, which a warning says once, with the reason.

    A graph repeats kernels, at the same places in memory, and nothing that Python did:

    - numbers are those of the capture: a learning rate that changes must be a tensor on the GPU,
      changed in place (``optimizer.param_groups[0]["lr"].fill_(0.01)``), and the optimizer
      ``fused=True`` or ``capturable=True``;
    - nothing in the function may read a value of a tensor (``item()``, ``if loss > 3``), and
      random numbers must be drawn on the GPU;
    - gradients stay within: of what is given and of what comes back none may be asked for;
    - what is made outside and used inside must stay where it is: change parameters in place.

    Args:
        function: Takes tensors, and gives a tensor, or a tuple or a list of them, or None.
        pool: What ``torch.cuda.graph_pool_handle()`` gave, to share the memory for what the
            functions compute on the way with others that have it. They must not run at the same
            time, and tensors that one leaves, such as gradients, do not outlast a call of another.

    Returns:
        A function of the same tensors. What it gives is the caller's own.

    Example:
        >>> weight = torch.ones(2)
        >>> @graphed
        ... def step(x):
        ...     weight.mul_(0.5)
        ...     return (weight * x).sum()
        >>> step(torch.ones(2)).item(), step.reason_not_captured
        (1.0, 'not all tensors are on a GPU')
    """
    return Graphed(function, pool)


class Graphed:
    """What :func:`graphed` gives.

    Attributes:
        reason_not_captured: Why the last call ran as it is, or None where it was a graph's.
    """

    def __init__(self, function: Callable[..., Any], pool: Any = None) -> None:
        self.function = function
        self.reason_not_captured: str | None = "it was not called"
        self._pool = pool
        self._calls = 0
        self._failure: str | None = None
        self._replay: Callable[[], None] | None = None
        self._inputs: list[Tensor] = []
        self._outputs: Any = None

    def __call__(self, *tensors: Tensor) -> Any:
        """Run the function, or replay it."""
        self.reason_not_captured = self._reason_against(tensors)
        if self.reason_not_captured is not None:
            return self.function(*tensors)
        if self._replay is None:
            self._calls += 1
            if self._calls <= WARM_UP:
                self.reason_not_captured = f"the first {WARM_UP} calls warm up"
                return warm_up(self.function, tensors)
            self._capture(tensors)
        if self._replay is None:
            self.reason_not_captured = self._failure
            return self.function(*tensors)
        with torch.no_grad():
            torch._foreach_copy_(self._inputs, list(tensors))
        self._replay()
        return _copied(self._outputs)

    def _reason_against(self, tensors: Sequence[Tensor]) -> str | None:
        if self._failure is not None:
            return self._failure
        if (reason := reason_against_device(tensors)) is not None:
            return reason
        if any(tensor.requires_grad for tensor in tensors):
            return "a tensor that is given requires a gradient"
        if self._replay is not None and _kinds(tensors) != _kinds(self._inputs):
            return "the tensors are not of the shapes, dtypes and devices that were captured"
        return None

    def _capture(self, tensors: Sequence[Tensor]) -> None:
        self._inputs = [tensor.detach().clone() for tensor in tensors]
        try:
            replay, outputs = capture(self.function, self._inputs, self._pool)
            if any(output.requires_grad for output in _listed(outputs)):
                raise ValueError("what it gives requires a gradient; backward() must be within")
            self._replay, self._outputs = replay, outputs
        except Exception as error:
            self._inputs = []
            self._failure = f"it cannot be captured: {error}"
            called = getattr(self.function, "func", self.function)  # a partial's
            name = getattr(called, "__qualname__", type(called).__name__)
            warnings.warn(
                f"graphed: {name} is launched kernel by kernel; {self._failure}", stacklevel=3
            )


def reason_against_device(tensors: Sequence[Tensor]) -> str | None:
    """Return why no graph can take these tensors, or None."""
    if not tensors:
        return "there are no tensors"
    if any(not tensor.is_cuda for tensor in tensors):
        return "not all tensors are on a GPU"
    return None


def warm_up(function: Callable[..., Any], tensors: Sequence[Tensor]) -> Any:
    """Run a function in the stream in which it will be captured.

    Args:
        function: What is run.
        tensors: What it takes, on the device where it runs; without any, that is the present one.
    """
    with _device_of(tensors):
        here, aside = torch.cuda.current_stream(), _capture_stream()
        aside.wait_stream(here)
        with torch.cuda.stream(aside):
            outputs = function(*tensors)
        here.wait_stream(aside)
    for tensor in tensors:
        tensor.record_stream(aside)  # its memory is not given away before that stream is done
    for tensor in _listed(outputs):
        tensor.record_stream(here)
    return outputs


def capture(
    function: Callable[..., Any], inputs: Sequence[Tensor], pool: Any = None
) -> tuple[Callable[[], None], Any]:
    """Record a call, without making it.

    Args:
        function: What is called.
        inputs: What it takes, as in :func:`warm_up`.
        pool: As in :func:`graphed`.

    Returns:
        What makes the call, and what the function gave, which the call fills.
    """
    with _device_of(inputs):
        graph, stream = torch.cuda.CUDAGraph(), _capture_stream()
        # Other threads may go on, such as one that copies the images of the next batch.
        with torch.cuda.graph(graph, pool, stream, capture_error_mode="thread_local"):
            outputs = function(*inputs)

    def replay() -> None:
        with _device_of(inputs):
            graph.replay()

    return replay, outputs


def shared_memory(device: torch.device) -> Any:
    """Return a ``pool`` for :func:`graphed` functions that run one after another on a device."""
    return torch.cuda.graph_pool_handle() if device.type == "cuda" else None


def _device_of(tensors: Sequence[Tensor]) -> AbstractContextManager[Any]:
    return torch.cuda.device_of(tensors[0]) if tensors else nullcontext()


@functools.cache
def _stream_of(device: int) -> Any:
    return torch.cuda.Stream(device)


def _capture_stream() -> Any:
    """Return the stream of all captures on the present device: those of one share memory."""
    return _stream_of(torch.cuda.current_device())


def _kinds(tensors: Sequence[Tensor]) -> list[tuple[Any, ...]]:
    return [(tensor.shape, tensor.dtype, tensor.device) for tensor in tensors]


def _listed(outputs: Any) -> list[Tensor]:
    if outputs is None:
        return []
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def _copied(outputs: Any) -> Any:
    if outputs is None:
        return None
    if isinstance(outputs, Tensor):
        return outputs.clone()
    return type(outputs)(output.clone() for output in outputs)
