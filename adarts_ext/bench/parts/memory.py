"""Memory of a forward and backward pass, and the part ``memory``.

Two numbers for each arm, everything requiring its gradient (weights, alphas and betas):

- the bytes that autograd keeps after the forward pass: all storages among the saved tensors, each
  once, those of weights, buffers, alphas, betas and images left out;
- the rise of the peak over a forward and a backward pass. On the CPU it is that of resident memory
  (VmHWM) in a fresh process, after a pass on two images that loads the code and makes the
  gradients; every tensor from 64 KiB is there mapped on its own and given back when freed, so that
  glibc's adaptive thresholds do not blur the number. On a GPU it is that of allocated memory.
"""

from __future__ import annotations

import ctypes
import functools
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from adarts_ext.bench import fresh
from adarts_ext.bench.arms import ARMS, Arm, build_network
from adarts_ext.bench.groups import BASELINE, Group, Measured, Options, Size, not_measured

#: The arms whose networks differ in what they keep.
COMPARED = {
    BASELINE: ARMS[BASELINE],
    "drop-in, store": Arm("drop-in"),
    "drop-in, recompute": Arm("drop-in", "recompute"),
    "ours, store": ARMS["ours, store"],
    "ours, recompute": ARMS["ours, recompute"],
}
THRESHOLD = str(2**16)
ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": THRESHOLD, "MALLOC_TRIM_THRESHOLD_": THRESHOLD}


def kept_bytes(forward: Callable[[], object], known: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps after a forward pass, but for those of known tensors."""
    left_out = {tensor.untyped_storage()._cdata for tensor in known}
    kept: dict[int, torch.UntypedStorage] = {}  # held, so that no storage takes another's place

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in left_out:
            kept[storage._cdata] = storage
        return tensor.detach()  # an output itself would hold the graph that holds it

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = forward()
    total = sum(storage.nbytes() for storage in kept.values())
    del out
    return total


def kept_by_network(arm: Arm, size: Size, device: str = "cpu") -> int:
    """Bytes that autograd keeps after a forward pass of the supernet."""
    network = build_network(arm, size, device)
    images = torch.randn(size.batch, 3, size.image, size.image, device=device)
    known = [*network.parameters(), *network.buffers(), *network.arch_parameters(), images]
    return kept_bytes(lambda: network(images), known)


def status_bytes(field: str) -> int:
    """Read a number of /proc/self/status.

    Raises:
        OSError: There is no such number.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {field}")


def peak_resident(call: Callable[[], object]) -> int:
    """Bytes resident at the most during a call, in a process that held less before."""
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    except OSError:
        call()
        return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    return status_bytes("VmHWM")


def peak_allocated(call: Callable[[], object]) -> int:
    """Bytes allocated on the GPU at the most during a call, beyond those before it."""
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def pass_through(network: nn.Module, size: Size, device: str) -> None:
    """Make one forward and backward pass."""
    images = torch.randn(size.batch, 3, size.image, size.image, device=device)
    network(images).sum().backward()


def measure_pass(arm: str, size: list[int], device: str, threads: int) -> dict[str, float]:
    """Measure the peak and the seconds of a pass; called in a process of its own on the CPU."""
    torch.set_num_threads(threads)
    shape = Size(*size)
    network = build_network(COMPARED[arm], shape, device)
    pass_through(network, replace(shape, batch=2), device)
    call = functools.partial(pass_through, network, shape, device)
    started = time.perf_counter()
    if device == "cuda":
        peak = peak_allocated(call)
    else:
        ctypes.CDLL(None).malloc_trim(0)
        before = status_bytes("VmRSS")
        peak = peak_resident(call) - before
    return {"peak_bytes": peak, "seconds": time.perf_counter() - started}


def measure_arm(name: str, size: Size, device: str, threads: int) -> Measured:
    """Measure an arm; the one time of a pass is cold, and compared with nothing."""
    kept = kept_by_network(COMPARED[name], size, device)
    arguments = name, astuple(size), device, threads
    if device == "cuda":
        one = measure_pass(*arguments)
    else:
        one = fresh.call(measure_pass, *arguments, environment=ENVIRONMENT)
    return Measured([one["seconds"]], {"kept_bytes": kept, "peak_bytes": one["peak_bytes"]})


def measure(size: Size, options: Options) -> dict[str, Measured]:
    """Measure all arms."""
    arguments = size, options.device, options.threads
    found = {}
    for name in COMPARED:
        try:
            found[name] = measure_arm(name, *arguments)
        except Exception as error:
            found[name] = not_measured(error)
    return found


def group_name(size: Size) -> str:
    """Return the name of a pass whose memory is measured."""
    return f"memory, N={size.batch}"


def groups(options: Options) -> Iterator[Group]:
    """One group for each batch size."""
    for batch in options.batches:
        size = options.size(batch)
        call = functools.partial(measure, size, options)
        yield Group("memory", group_name(size), tuple(COMPARED), call)
