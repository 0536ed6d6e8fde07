"""Search code of the DARTS family that one has already, accelerated, and compared before and after.

    python examples/existing_code.py --style pc-darts

``adarts_ext.reference.networks.Network`` stands for your own search network: a supernet in plain
torch that knows nothing of this package. ``accelerate`` is the only line that your code needs.

Out come what runs in the compiled kernels now, how far loss, logits and gradients are from what
they were on the same batch (float32 rounds to 6e-8, and many layers add up to some 1e-6), and how
long a search step takes either way. Steps before and after take turns, and their medians are shown.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import adarts_ext
from adarts_ext.reference.networks import STYLES, Network  # put your own network here

Batch = tuple[Tensor, Tensor]


def outputs_and_gradients(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """Compute what is compared: the loss, the logits, and all gradients end to end."""
    images, labels = batch
    logits = model(images)
    loss = cross_entropy(logits, labels)
    parts = {"weights": list(model.parameters()), "alphas and betas": model.arch_parameters()}
    grads = torch.autograd.grad(loss, [one for part in parts.values() for one in part])
    compared, start = {"loss": loss, "logits": logits}, 0
    for name, part in parts.items():
        these = grads[start : start + len(part)]
        compared[f"gradient of {name}"] = torch.cat([grad.flatten() for grad in these])
        start += len(part)
    return compared


def search_step(model: nn.Module) -> Callable[[Batch, Batch], None]:
    """Make the first-order search step of DARTS (arXiv 1806.09055, algorithm 1) on a model."""
    weight_optimizer = torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9)
    arch_optimizer = torch.optim.Adam(model.arch_parameters(), lr=6e-4, betas=(0.5, 0.999))

    def step(train_batch: Batch, validation_batch: Batch) -> None:
        for optimizer, (images, labels) in (
            (arch_optimizer, validation_batch),
            (weight_optimizer, train_batch),
        ):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()

    return step


def main() -> None:
    """Accelerate a copy of the network, and compare it with the network as it was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--style", choices=STYLES, default="adarts", help="(%(default)s)")
    parser.add_argument("--channels", type=int, default=16, help="of the first cells (%(default)s)")
    parser.add_argument("--layers", type=int, default=8, help="cells (%(default)s)")
    parser.add_argument("--batch-size", type=int, default=64, help="images (%(default)s)")
    parser.add_argument("--image-size", type=int, default=32, help="pixels (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="to be timed (%(default)s)")
    options = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    before = Network(options.style, options.channels, layers=options.layers).to(device)
    after = adarts_ext.accelerate(copy.deepcopy(before))
    print(adarts_ext.acceleration_report(after))

    def draw_batch() -> Batch:
        images = torch.randn(options.batch_size, 3, options.image_size, options.image_size)
        return images.to(device), torch.randint(10, (options.batch_size,), device=device)

    batches = draw_batch(), draw_batch()
    expected, found = (outputs_and_gradients(model, batches[0]) for model in (before, after))
    for name, tensor in expected.items():
        difference = torch.linalg.vector_norm(found[name] - tensor)
        print(f"{name}: relative difference {difference / torch.linalg.vector_norm(tensor):.1e}")

    steps, seconds = [search_step(model) for model in (before, after)], ([], [])
    for _ in range(options.steps + 1):
        for step, times in zip(steps, seconds, strict=True):
            started = time.perf_counter()
            step(*batches)
            if device == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    slow, fast = (statistics.median(times[1:]) for times in seconds)  # the first warms up
    print(
        f"a search step: {slow:.3f} s before, {fast:.3f} s after, {slow / fast:.1f} times as fast"
    )


if __name__ == "__main__":
    main()
