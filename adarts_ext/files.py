"""Run folders and the files in them.

Every file is written beside its place and renamed into it, so that a crash, an interrupt or a full
disk leaves the previous file as it was. Reading never runs code from a file: JSON, and checkpoints
that hold nothing but tensors and plain values.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import torch

Options = TypeVar("Options")

KINDS = ("search", "retrain")  # of runs
CONFIG_FILE = "config.json"
CHECKPOINT_FILE = "checkpoint.pt"
RESULT_FILE = "result.json"
GENOTYPE_FILE = "genotype.json"
HISTORY_FILE = "history.json"
TENSORBOARD_FOLDER = "tensorboard"


def write_atomic(path: str | os.PathLike[str], write: Callable[[BinaryIO], None]) -> None:
    """Write a file so that ``path`` holds either all of the new content or what it held before.

    ``write`` is given a binary file opened beside ``path``. After it returns, the file is flushed
    to the disk and renamed to ``path``. If anything fails the temporary file is removed.

    Raises:
        OSError: the file cannot be written (full disk, no permission, missing folder), in one line
            that names ``path``.

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
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(error.errno or 0, f"cannot write, {reason}", str(path)) from error


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Write ``value`` as indented JSON, atomically.

    Raises:
        OSError: the file cannot be written.

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
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON; the message names it and the place.

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


def save_checkpoint(path: str | os.PathLike[str], state: dict[str, Any]) -> None:
    """Save a dictionary of tensors and plain values, atomically.

    Args:
        path: the file to write.
        state: nested dictionaries, lists and tuples of tensors, numbers, strings and None. Its
            entry ``"kind"`` says what made it: ``"search"`` or ``"retrain"``.

    Raises:
        ValueError: ``state`` has no ``"kind"``.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> save_checkpoint(path, {"kind": "search", "epoch": 3, "weight": torch.ones(2)})
        >>> load_checkpoint(path, "search")["weight"]
        tensor([1., 1.])
    """
    if "kind" not in state:
        raise ValueError(f"a checkpoint needs the entry 'kind', got the entries {sorted(state)}")
    # Serialised in memory first: torch's archive writer turns a failing disk into an error of its
    # own that no longer says why.
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, lambda file: file.write(buffer.getbuffer()))


def load_checkpoint(path: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """Load what :func:`save_checkpoint` saved, with its tensors on the CPU.

    Args:
        path: the file to read.
        kind: ``"search"`` or ``"retrain"`` to accept only that kind, None for either.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, damaged, not a checkpoint, or one of another kind.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "checkpoint.pt"
        >>> save_checkpoint(path, {"kind": "search", "epoch": 3})
        >>> load_checkpoint(path)
        {'kind': 'search', 'epoch': 3}
    """
    content = Path(path).read_bytes()
    try:
        # torch does not compare the checksums in its archives, so a flipped bit would go unseen.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"wrong checksum of {damaged}")
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: damaged, or not a checkpoint of adarts_ext") from error
    if not isinstance(state, dict) or "kind" not in state:
        raise ValueError(f"{path}: not a checkpoint of adarts_ext")
    if kind is not None and state["kind"] != kind:
        raise ValueError(f"{path}: expected a checkpoint of a {kind}, got one of a {state['kind']}")
    return state


def read_options(folder: Path, kind: str, make: Callable[..., Options]) -> Options:
    """Make the options of a run from the file in its folder.

    Args:
        folder: The folder of the run.
        kind: ``"search"`` or ``"retrain"``, what the run must be.
        make: The class of the options, called with those in the file.

    Raises:
        FileNotFoundError: there is no run in the folder.
        ValueError: the run is of another kind, or the file is damaged.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(f"{folder}: not the folder of a run, it holds no {CONFIG_FILE}")
    options = read_json(path)
    found = options.pop("kind", None) if isinstance(options, dict) else None
    if found != kind:
        got = f"one of a {found}" if found in KINDS else "something else"
        raise ValueError(f"{folder}: expected the run of a {kind}, got {got}")
    try:
        return make(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def check_same_options(
    folder: Path, begun: dict[str, Any], given: dict[str, Any], free: Collection[str]
) -> None:
    """Refuse to go on with a run under options that compute something else.

    Args:
        folder: The folder of the run.
        begun: The options the run was begun with.
        given: The options to go on with.
        free: Names of the options that may differ.

    Raises:
        ValueError: another option differs.
    """
    for name in given:
        if name not in free and begun[name] != given[name]:
            raise ValueError(
                f"{folder}: the run was begun with {name} {begun[name]}, cannot go on with "
                f"{given[name]}"
            )


def open_run_folder(path: str | os.PathLike[str], resume: bool) -> Path:
    """Make the folder of a run ready, and refuse to mix two runs in one folder.

    A folder holds a run once it holds a checkpoint or a result. A run that ended before its first
    checkpoint left nothing to resume, so its folder may be used again.

    Args:
        path: the folder; it is made, with its parents, when it is not there.
        resume: whether the run that the folder holds is to go on.

    Raises:
        ValueError: not ``resume``, and the folder already holds a run.
        FileNotFoundError: ``resume``, and the folder holds no checkpoint.
        OSError: the folder cannot be made or written to.

    Example:
        >>> import tempfile
        >>> folder = open_run_folder(Path(tempfile.mkdtemp()) / "runs" / "first", resume=False)
        >>> folder.is_dir()
        True
    """
    folder = Path(path)
    if resume and not (folder / CHECKPOINT_FILE).is_file():
        raise FileNotFoundError(
            f"{folder}: no {CHECKPOINT_FILE} to resume from; start the run without --resume"
        )
    if not resume and any((folder / name).exists() for name in (CHECKPOINT_FILE, RESULT_FILE)):
        raise ValueError(
            f"{folder}: already holds a run; go on with it by --resume, or choose another folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder}: cannot be written to")
    return folder
