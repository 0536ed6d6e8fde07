"""Stopping a run between two steps, on Ctrl-C or SIGTERM."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn


@dataclass
class Stop:
    """Whether a run was asked to stop, and by which signal."""

    received: int | None = None

    def check(self) -> None:
        """Stop, if it was asked for.

        Raises:
            KeyboardInterrupt, SystemExit: As :func:`stop_by` says.
        """
        if self.received is not None:
            stop_by(self.received)


def stop_by(number: int) -> NoReturn:
    """Raise what a signal stops a program by: its exit status is 130 or 143.

    Raises:
        KeyboardInterrupt: For SIGINT.
        SystemExit: For SIGTERM.
    """
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


@contextmanager
def stop_on_request() -> Iterator[Stop]:
    """Take the first SIGINT or SIGTERM as a request to stop, and leave the second as it was.

    What runs in the block looks at the request when it suits; one that it has not seen by the end
    is met there. A signal that the program ignores stays ignored, and outside of the main thread,
    which gets all signals, nothing changes.

    Raises:
        KeyboardInterrupt, SystemExit: At the end, as :func:`stop_by` says.

    Example:
        >>> with stop_on_request() as stop:
        ...     stop.received is None
        True
    """
    stop = Stop()
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        before = {k: old for k, old in handlers.items() if old not in (signal.SIG_IGN, None)}

    def put_back() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def receive(number: int, frame: object) -> None:
        stop.received = number
        put_back()

    for number in before:
        signal.signal(number, receive)
    try:
        yield stop
    finally:
        put_back()
    stop.check()
