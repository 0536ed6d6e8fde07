"""Kernels that one forward and backward pass of the supernet launches, counted without a GPU.

    python benchmarks/scripts/count_launches.py [--out FILE.md] [--batch 32] [--size 16]

Everything requires its gradient (weights, alphas and betas); optimisers are left out. Our kernels
are counted on the emulator (tests/emulator), which runs the CUDA sources and counts their launches.
Torch's own operators are counted as they are dispatched, and those that our bindings call as the
profiler sees them, by what they launch on CUDA:

- views and allocations launch nothing; copies and fills count, like any other operator, as one;
- those of :data:`KERNELS` and :func:`launches` launch more;
- a foreach operator launches one kernel for as many tensors and chunks as ATen packs into one
  launch (its multi_tensor_apply with 4 KiB of arguments).

What cuDNN might launch beyond one kernel (changes of layout, split sums) is not counted. The number
does not depend on the size of batch and images, so small ones do; a small network must give the
same number for two sizes. (Ours work on blocks of 16 images. A batch that leaves a block unfilled
needs two more kernels, a single block two fewer.) The default network takes the emulator minutes.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from size_options import add_size_options
from torch import Tensor
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from adarts_ext.bench.arms import ARMS, Arm, build_network
from adarts_ext.bench.groups import Size
from adarts_ext.bench.report.markdown import table, write

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from emulator import library

COMPARED = ("plain", "ours, store", "ours, recompute")
TARGET = 700
CHECKED = (Size(32, 4, 3, 16), Size(48, 4, 3, 20))

#: CUDA kernels of one call, where it is not one.
KERNELS = {
    "native_batch_norm": 3,  # statistics, their update, normalisation
    "index_copy": 2,  # copy, copy at the index
    "index_add": 2,
    "index_fill": 2,
    "constant_pad_nd": 2,  # fill, copy
    "select_backward": 2,  # zeros, copy
    "slice_backward": 2,
    "nll_loss_backward": 2,  # zeros, gradient
    "max_pool2d_with_indices_backward": 2,
    "adaptive_max_pool2d_backward": 2,
    "sort": 3,  # copy, indices, sort
    "topk": 2,  # choice, sort
}
NO_KERNEL = (
    "_unsafe_view",
    "contiguous",
    "empty",
    "empty_strided",
    "empty_like",
    "new_empty",
    "new_empty_strided",
)

# ATen's multi_tensor_apply: at most so many tensors, by the number of lists, and chunks a launch.
MOST_TENSORS = (110, 64, 48, 36, 30)
MOST_CHUNKS = 320
CHUNK = 2**16  # elements


def foreach_launches(elements: Sequence[int], lists: int) -> int:
    """Launches of a foreach operator on lists of tensors with so many elements."""
    launched = tensors = chunks = 0
    for count in elements:
        tensors += 1
        of_tensor = -(-count // CHUNK)
        for chunk in range(1, of_tensor + 1):
            chunks += 1
            full = tensors == MOST_TENSORS[lists - 1] and chunk == of_tensor
            if full or chunks == MOST_CHUNKS:
                launched, chunks = launched + 1, 0
                tensors = 0 if chunk == of_tensor else 1
    return launched + (chunks > 0)


def launches(operator: torch._ops.OpOverload, arguments: Sequence[object]) -> int:
    """How many kernels a call of one of torch's operators launches on CUDA."""
    name = operator.overloadpacket.__name__
    if operator.is_view:
        return 0
    if name == "convolution_backward":
        return sum(arguments[-1])  # a kernel for each gradient asked for
    if name.startswith("_foreach_"):
        lists = [a for a in arguments if isinstance(a, list | tuple) and isinstance(a[0], Tensor)]
        made = 0 if name.endswith("_") else 1
        return foreach_launches([tensor.numel() for tensor in lists[0]], len(lists) + made)
    return of_plain_operator(name)


def of_plain_operator(name: str) -> int:
    """The same for operators whose launches depend on the name only."""
    return 0 if name in NO_KERNEL else KERNELS.get(name, 1)


class TorchKernels(TorchDispatchMode):
    """Counts the kernels of torch's own operators by their names."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, operator, types, arguments=(), keywords=None):
        if operator.namespace == "aten":
            name = operator.overloadpacket.__name__
            self.counts[name] += launches(operator, arguments)
        return operator(*arguments, **(keywords or {}))


def called_by_ours(events: Iterable[FunctionEvent]) -> Counter[str]:
    """Count the kernels of torch's operators that our bindings call, by their names."""
    counts: Counter[str] = Counter()
    for event in events:
        parent = event.cpu_parent
        while parent is not None and parent.name == "aten::contiguous":
            parent = parent.cpu_parent  # it launches nothing; the copy that it may call does
        if parent is not None and parent.name.startswith("adarts_") and "aten::" in event.name:
            name = event.name.removeprefix("aten::")
            counts[f"{name}, called by ours"] += of_plain_operator(name)
    return counts


def use_emulated_kernels() -> None:
    """Put the CUDA kernels under the emulator in the place of the compiled operators."""
    for module, name in library.handles():
        setattr(module, name, library.load())


def count(arm: Arm, size: Size) -> tuple[Counter[str], Counter[str]]:
    """Kernels of one forward and backward pass: ours and torch's, by name."""
    network = build_network(arm, size)
    images = torch.randn(size.batch, 3, size.image, size.image)
    cpu = [ProfilerActivity.CPU]
    with library.launches() as ours, profile(activities=cpu) as profiler, TorchKernels() as torchs:
        network(images).sum().backward()
    return ours, +(torchs.counts + called_by_ours(profiler.events()))


def check_independent(name: str) -> None:
    """Stop where the launches of a small network depend on the size of the batch or the images."""
    one, other = (count(ARMS[name], size) for size in CHECKED)
    if one != other:
        totals = (sum(c.total() for c in both) for both in (one, other))
        pairs = zip(totals, CHECKED, strict=True)
        raise SystemExit(f"{name}: " + ", ".join(f"{total} for {size}" for total, size in pairs))


def main(arguments: list[str] | None = None) -> None:
    """Count, print, and write the tables where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, help="write the tables here, and rows beside them")
    parser.add_argument("--batch", type=int, default=32, metavar="N")
    add_size_options(parser)
    parser.set_defaults(size=16)
    parser.add_argument("--skip-check", action="store_true", help="do not try two sizes")
    options = parser.parse_args(arguments)
    size = Size(options.batch, options.init_channels, options.layers, options.size)
    use_emulated_kernels()
    if not options.skip_check:
        check_independent("ours, store")
    counted = {name: count(ARMS[name], size) for name in COMPARED}
    totals = {name: sum(c.total() for c in both) for name, both in counted.items()}
    flat = {
        name: Counter({(k, "ours"): n for k, n in ours.items()})
        + Counter({(k, "torch"): n for k, n in torchs.items()})
        for name, (ours, torchs) in counted.items()
    }
    kernels = set().union(*flat.values())
    ordered = sorted(kernels, key=lambda key: (-max(flat[name][key] for name in COMPARED), key))
    lines = [
        f"One forward and backward pass, C={size.channels}, {size.layers} cells, K=4, attention, "
        "float32: kernels launched, ours counted on the emulator, torch's by what the dispatched "
        "operators launch on CUDA (the rule is in benchmarks/scripts/count_launches.py). Counted "
        f"at N={size.batch}, {size.image}x{size.image}; the images' size makes no difference, "
        "the batch only where it is no more than a block of 16 (2 fewer) or leaves one unfilled "
        "(2 more).",
        "",
        *table(
            ["arm", "our kernels", "torch's kernels", "together"],
            [[name, *(c.total() for c in counted[name]), totals[name]] for name in COMPARED],
        ),
        "",
        f"Asked for: at most {TARGET} for the default network.",
        "",
        *table(
            ["kernel", "of", *COMPARED],
            [[*key, *(flat[name][key] for name in COMPARED)] for key in ordered],
        ),
    ]
    counts = [
        {"kernel": kernel, "of": of, **{name: flat[name][kernel, of] for name in COMPARED}}
        for kernel, of in ordered
    ]
    write(options.out, lines, counts)


if __name__ == "__main__":
    main()
