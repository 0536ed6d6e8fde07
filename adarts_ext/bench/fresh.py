"""Functions that run in a process of their own.

python -m adarts_ext.bench.fresh MODULE FUNCTION ARGUMENTS
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import adarts_ext


def call(
    function: Callable[..., Any],
    *arguments: Any,
    environment: dict[str, str] | None = None,
    limit: float | None = None,
) -> Any:
    """Call a function of a module in a fresh process; arguments and result go through JSON.

    Args:
        function: The function.
        arguments: Its arguments.
        environment: Variables to set for the process.
        limit: Seconds after which the process is stopped.

    Raises:
        TimeoutError: The process was not done at the limit.
        ChildProcessError: It failed; the message is the last line of what it said.

    Example:
        >>> import math
        >>> call(math.gcd, 12, 18)
        6
    """
    place = str(Path(adarts_ext.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [place, os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "adarts_ext.bench.fresh"]
    process = subprocess.Popen(
        [*command, function.__module__, function.__name__, json.dumps(arguments)],
        env={**os.environ, **(environment or {}), "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that all that it starts ends with it
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TimeoutError(f"not done in {limit:g} s") from None
        raise
    if process.returncode != 0:
        last = errors.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
        raise ChildProcessError(last[0])
    return json.loads(output.splitlines()[-1])


def main(module: str, function: str, arguments: str) -> None:
    """Call the function, and print its result."""
    result = getattr(importlib.import_module(module), function)(*json.loads(arguments))
    print(json.dumps(result))


if __name__ == "__main__":
    main(*sys.argv[1:])
