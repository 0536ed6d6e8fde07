"""What the commands that make a run share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from adarts_ext.files import CHECKPOINT_FILE


def default_folder(kind: str, dataset: str) -> Path:
    """Name the folder of a run that was not given one."""
    return Path("runs") / f"{kind}-{dataset}-{datetime.now():%Y%m%d-%H%M%S}"


@contextmanager
def explain_interrupt(command: str, arguments: list[str], folder: Path) -> Iterator[None]:
    """On Ctrl-C say how to go on with the run in ``folder``."""
    try:
        yield
    except KeyboardInterrupt:
        if any(folder.glob(f"**/{CHECKPOINT_FILE}")):
            again = list(arguments)
            if not any(part.partition("=")[0] == "--out" for part in again):
                again += ["--out", str(folder)]
            if "--resume" not in again:
                again.append("--resume")
            hint = f"go on from its last checkpoint by: adarts {command} {shlex.join(again)}"
        else:
            hint = "it had no checkpoint yet, so there is nothing to go on from"
        print(f"\n{folder}: {hint}", file=sys.stderr)
        raise
