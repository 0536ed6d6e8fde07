"""Writing files whole or not at all, and JSON.

Every file is written beside its place and renamed into it, so that a crash, an interrupt or a full
disk leaves the previous file as it was. What is killed may leave the unfinished file beside it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write_atomic(
    path: str | os.PathLike[str],
    write: Callable[[BinaryIO], None],
    previous: str | os.PathLike[str] | None = None,
) -> None:
    """Write a file so that ``path`` holds either all of the new content or what it held before.

    After ``write`` returns, the file is flushed to the disk and renamed to ``path``. If anything
    fails the temporary file is removed.

    Args:
        path: The file.
        write: What writes the content; it is given a binary file opened beside ``path``.
        previous: Where to keep what ``path`` held, in the same folder; None to lose it. What is
            killed between the two renames leaves it there, and nothing at ``path``.

    Raises:
        OSError: If the file cannot be written (full disk, no permission, missing folder), in one
            line that names ``path``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "greeting.txt"
        >>> write_atomic(path, lambda file: file.write(b"hello"))
        >>> path.read_bytes()
        b'hello'
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            with open(temporary, "xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.exists():
                os.replace(path, previous)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or 0, f"cannot write, {reason}", str(path)) from error


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that :func:`write_atomic` left in a folder when it was killed.

    They are told by their names. Nobody may be writing into the folder.

    Raises:
        OSError: If one cannot be removed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".checkpoint.pt.0123abcd.tmp").touch()
        >>> remove_leftovers(folder)
        >>> list(folder.iterdir())
        []
    """
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink()


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, atomically.

    Raises:
        OSError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "config.json"
        >>> write_json(path, {"epochs": 50})
        >>> read_json(path)
        {'epochs': 50}
    """
    content = (json.dumps(value, indent=2) + "\n").encode()
    write_atomic(path, lambda file: file.write(content))


def read_json(path: str | os.PathLike[str]) -> Any:
    """Read a JSON file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not JSON; the message names it and the place.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "list.json"
        >>> write_json(path, [1, 2.5, None])
        >>> read_json(path)
        [1, 2.5, None]
    """
    content = Path(path).read_bytes()
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, or not JSON: {error}") from error
