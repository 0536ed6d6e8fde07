"""Libraries that come with an extra of the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MissingExtraError(ModuleNotFoundError):
    """A library is not installed; the message says which extra brings it."""


@contextmanager
def needing(extra: str) -> Iterator[None]:
    """Say which extra to install where a module is not found.

    Raises:
        MissingExtraError: If one is not found.

    Example:
        >>> with needing("export"):
        ...     import no_such_module
        Traceback (most recent call last):
        ...
        adarts_ext.extras.MissingExtraError: no_such_module is not installed; install it by:
        pip install 'adarts_ext[export]'
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"{error.name} is not installed; install it by: pip install 'adarts_ext[{extra}]'",
            name=error.name,
        ) from error
