"""Runs of several seeds shared out over the GPUs of a machine, a process for each."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from adarts_ext.arguments import naming
from adarts_ext.runs import processes
from adarts_ext.runs.experiment import Experiment, SeedRun
from adarts_ext.runs.share import describe_share
from adarts_ext.runs.stop import stop_on_request

SECONDS_BETWEEN_LOOKS = 0.1


def open_devices(device: str) -> list[str]:
    """Return the GPUs that runs can be shared out over, as ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        device: The option; only ``auto`` and ``cuda`` leave the choice.

    Returns:
        All that torch finds; none where the option names one, or torchrun has started this process.
    """
    if device not in ("auto", "cuda") or processes.count() > 1:
        return []
    found = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:found] if named else [str(number) for number in range(found)]


def run_on_devices(
    experiment: Experiment, runs: Sequence[SeedRun], devices: Sequence[str], folder: Path
) -> None:
    """Share runs out over GPUs; each makes its share one after another, in a process of its own.

    What the processes say comes out on stderr, line by line. Ctrl-C and SIGTERM are passed on to
    them: the first lets each save, a second one kills them.

    Args:
        experiment: What is run.
        runs: The runs.
        devices: The GPUs.
        folder: The folder of all runs.

    Raises:
        ValueError: If a process failed; it has said why.
        KeyboardInterrupt, SystemExit: On Ctrl-C and on SIGTERM.
    """
    reader, writer = os.pipe()
    shares = [runs[k :: len(devices)] for k in range(min(len(devices), len(runs)))]
    workers = [
        _start(describe_share(experiment, share), device, writer)
        for share, device in zip(shares, devices, strict=False)
    ]
    os.close(writer)
    relay = threading.Thread(target=_relay, args=(reader,), daemon=True)
    relay.start()
    try:
        with stop_on_request() as stop:
            told = False
            while any(worker.poll() is None for worker in workers):
                if stop.received is not None and not told:
                    told = True
                    for worker in workers:
                        worker.send_signal(stop.received)
                time.sleep(SECONDS_BETWEEN_LOOKS)
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        relay.join()
    if failed := sum(worker.returncode != 0 for worker in workers):
        message = (
            f"{folder}: {failed} of {len(workers)} processes failed, as they said; go on by "
            "resume=True"
        )
        raise naming(ValueError(message), "resume=True")


def _start(share: str, device: str, output: int) -> subprocess.Popen[bytes]:
    worker = subprocess.Popen(
        [sys.executable, "-m", "adarts_ext.runs.share"],
        stdin=subprocess.PIPE,
        stderr=output,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": device},
        start_new_session=True,  # so that Ctrl-C comes once, from here
    )
    worker.stdin.write(share.encode())
    worker.stdin.close()
    return worker


def _relay(reader: int) -> None:
    with open(reader) as lines:
        for line in lines:
            sys.stderr.write(line)
