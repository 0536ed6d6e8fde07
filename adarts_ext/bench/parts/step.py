"""The part ``step``: one whole search step, in every way it can be run.

All arms begin with the same weights and see the same batches. They run in one process, in turn; on
a GPU ours and frozen also as one CUDA graph each. torch.compile may not finish in any time one
would wait, so it runs in a process of its own, after the others, and is stopped at a limit.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import astuple

import torch

from adarts_ext.bench import fresh
from adarts_ext.bench.arms import ARMS, SearchStep
from adarts_ext.bench.groups import BASELINE, Group, Measured, Options, Size, not_measured
from adarts_ext.bench.parts.memory import peak_allocated
from adarts_ext.bench.timing import stopwatch, take_turns
from adarts_ext.cuda_graph import WARM_UP

#: On a GPU, by the arm that they capture.
GRAPHED = {"frozen, CUDA graph": "frozen", "ours, CUDA graph": "ours, store"}
COMPILED = "torch.compile, frozen"
PRECISIONS = ("float32", "bfloat16")
LOW_PRECISION = (BASELINE, "frozen", "drop-in", "ours, store", "ours, recompute")


def arms(precision: str, device: str) -> tuple[str, ...]:
    """Return the names of the arms of a precision, ``"float32"`` or ``"bfloat16"``."""
    graphs = tuple(GRAPHED) if device == "cuda" else ()
    if precision == "bfloat16":
        return (*LOW_PRECISION, *graphs)
    return (*ARMS, *graphs, COMPILED)


def prepare(name: str, size: Size, device: str, precision: str = "float32") -> SearchStep:
    """Make a step of an arm that is to be called once more before it is timed."""
    torch.backends.cudnn.benchmark = True
    arm = "frozen" if name == COMPILED else GRAPHED.get(name, name)
    step = SearchStep(ARMS[arm], size, device, precision == "bfloat16")
    if name == COMPILED:
        step.network.compile(dynamic=False)
    if name in GRAPHED:
        step.as_graph()
    warm_up = WARM_UP - (name not in GRAPHED)  # the call that captures is another
    for _ in range(warm_up if device == "cuda" or name == COMPILED else 0):
        step()
    return step


def measure_in_turn(
    names: tuple[str, ...], size: Size, precision: str, device: str, rounds: int
) -> dict[str, Measured]:
    """Measure arms that run in one process."""
    steps, info, found = {}, {}, {}
    for name in names:
        try:
            step, info[name] = prepare(name, size, device, precision), {}
            if device == "cuda":
                info[name]["peak_bytes"] = peak_allocated(step)
            else:
                step()
        except Exception as error:
            found[name] = not_measured(error)
        else:
            steps[name] = step
    for name, seconds in take_turns(steps, rounds, stopwatch(device)).items():
        found[name] = Measured(seconds, {**info[name], "loss": steps[name].loss.item()})
    return found


def measure_compiled(
    size: list[int], device: str, threads: int, rounds: int
) -> tuple[list[float], dict[str, object]]:
    """Compile the plain network, and measure its frozen step alone."""
    torch.set_num_threads(threads)
    found = measure_in_turn((COMPILED,), Size(*size), "float32", device, rounds)[COMPILED]
    if found.missing:
        raise RuntimeError(found.missing)
    return found.seconds, found.info


class CompiledArm:
    """The arm of torch.compile; once it has not managed one batch it is not tried on another."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.missing = ""

    def __call__(self, size: Size) -> Measured:
        """Measure it in a process of its own, or say why that did not work."""
        options, limit = self.options, self.options.compile_seconds
        arguments = astuple(size), options.device, options.threads, options.rounds
        if not self.missing:
            try:
                seconds, info = fresh.call(measure_compiled, *arguments, limit=limit)
                return Measured(seconds, {**info, "alone": True})
            except (TimeoutError, ChildProcessError) as error:
                self.missing = f"N={size.batch}: {error}"
        return Measured([], missing=self.missing)


def measure(
    names: tuple[str, ...], size: Size, precision: str, options: Options, compiled: CompiledArm
) -> dict[str, Measured]:
    """Measure all arms of a group."""
    here = tuple(name for name in names if name != COMPILED)
    found = measure_in_turn(here, size, precision, options.device, options.rounds)
    return {name: found[name] if name in found else compiled(size) for name in names}


def group_name(size: Size, precision: str) -> str:
    """Return the name of a step.

    Example:
        >>> group_name(Size(), "float32")
        'search step, N=64, float32'
    """
    return f"search step, N={size.batch}, {precision}"


def groups(options: Options) -> Iterator[Group]:
    """One group for each batch size and precision."""
    compiled = CompiledArm(options)
    for batch in options.batches:
        size = options.size(batch)
        for precision in PRECISIONS:
            names = arms(precision, options.device)
            yield Group(
                "step",
                group_name(size, precision),
                names,
                functools.partial(measure, names, size, precision, options, compiled),
            )
