"""Checkpoints: all that a run needs to go on exactly where it stood.

Reading one never runs code from the file: it holds nothing but tensors and plain values.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

import torch

from adarts_ext.files import write_atomic
from adarts_ext.memory import is_out_of_memory
from adarts_ext.runs import processes
from adarts_ext.runs.folder import CHECKPOINT_FILE, CHECKPOINT_FILES, PREVIOUS_CHECKPOINT_FILE


@dataclass(frozen=True)
class RunState:
    """What changes during a run and is kept in its checkpoint, beside torch's generators.

    A kind of run names its own parts: modules, optimizers and loaders, each with ``state_dict`` and
    ``load_state_dict``. The checkpoint has an entry for each, of the same name, but for those that
    are None.
    """

    kind: ClassVar[str]

    def parts(self) -> dict[str, Any]:
        """Return the parts that the run has, by name."""
        named = {part.name: getattr(self, part.name) for part in fields(self)}
        return {name: part for name, part in named.items() if part is not None}

    def save(
        self,
        folder: Path,
        history: list[dict[str, Any]],
        under_way: dict[str, Any] | None = None,
        rng: dict[str, Any] | None = None,
    ) -> None:
        """Write the checkpoint of a run, in one piece.

        The checkpoint before it is kept beside it, in the place of the one before that. Of several
        processes, whose states are the same, the first one writes.

        Args:
            folder: The run's folder.
            history: The records of the epochs that are done.
            under_way: How far the epoch after them has come; None between two epochs.
            rng: Where torch's generators stood (:func:`rng_state`) if they have moved on for what
                the run will do again; None for where they are.

        Raises:
            OSError: If the file cannot be written; what was there is kept.
        """
        parts = {name: part.state_dict() for name, part in self.parts().items()}
        state = {"kind": self.kind, **parts, "rng": rng or rng_state()}
        state |= {"history": history, "under_way": under_way}
        if processes.is_first():
            save_checkpoint(folder / CHECKPOINT_FILE, state, folder / PREVIOUS_CHECKPOINT_FILE)
        processes.agree(0)  # the others wait: who stops now would have the first stopped as well

    def load(self, folder: Path) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Put the newest whole checkpoint of a run back; give its ``history`` and ``under_way``.

        It becomes the newest one, in the place of a damaged one, so that the next does not push it
        out.

        Raises:
            FileNotFoundError: If there is no checkpoint.
            ValueError: If all are damaged, or it belongs to another network.
        """
        state, path = processes.from_first(lambda: load_newest(folder, self.kind))
        try:
            for name, part in self.parts().items():
                part.load_state_dict(state[name])
            set_rng_state(state["rng"])
            history, under_way = state["history"], state.get("under_way")
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            if is_out_of_memory(error):
                raise
            raise ValueError(
                f"{path}: does not fit the options and the data set of the run"
            ) from error
        if processes.is_first():
            os.replace(path, folder / CHECKPOINT_FILE)
        return history, under_way


def load_newest(folder: Path, kind: str) -> tuple[dict[str, Any], Path]:
    """Load the newest whole checkpoint of a run, with a warning where a newer one is damaged.

    Returns:
        What :func:`load_checkpoint` gives, and the file.

    Raises:
        FileNotFoundError: If there is no checkpoint.
        ValueError: If all that are there are damaged, or of another kind; the message names them.
    """
    complaints = []
    for path in (folder / name for name in CHECKPOINT_FILES):
        try:
            state = load_checkpoint(path, kind)
        except FileNotFoundError:
            continue
        except ValueError as error:
            complaints.append(str(error))
            continue
        for complaint in complaints:
            warnings.warn(f"{complaint}; taking the one before it, {path.name}", stacklevel=1)
        return state, path
    if complaints:
        raise ValueError("; ".join(complaints))
    raise FileNotFoundError(f"{folder}: no {CHECKPOINT_FILE}")


def save_checkpoint(
    path: str | os.PathLike[str],
    state: dict[str, Any],
    previous: str | os.PathLike[str] | None = None,
) -> None:
    """Save a dictionary of tensors and plain values, atomically.

    Args:
        path: The file to write.
        state: Nested dictionaries, lists and tuples of tensors, numbers, strings and None. Its
            entry ``"kind"`` says what made it: ``"search"`` or ``"retrain"``.
        previous: Where to keep what ``path`` held; None to lose it.

    Raises:
        ValueError: If ``state`` has no ``"kind"``.
        OSError: If the file cannot be written.

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
    write_atomic(path, lambda file: file.write(buffer.getbuffer()), previous)


def load_checkpoint(path: str | os.PathLike[str], kind: str | None = None) -> dict[str, Any]:
    """Load what :func:`save_checkpoint` saved, with its tensors on the CPU.

    Args:
        path: The file to read.
        kind: ``"search"`` or ``"retrain"`` to accept only that kind, None for either.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, damaged, not a checkpoint, or one of another kind.

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
        if is_out_of_memory(error):
            raise
        raise ValueError(f"{path}: damaged, or not a checkpoint of adarts_ext") from error
    if not isinstance(state, dict) or "kind" not in state:
        raise ValueError(f"{path}: not a checkpoint of adarts_ext")
    if kind is not None and state["kind"] != kind:
        raise ValueError(f"{path}: expected a checkpoint of a {kind}, got one of a {state['kind']}")
    return state


def rng_state() -> dict[str, Any]:
    """Take the state of torch's generators, as tensors that a checkpoint can hold.

    Nothing in this package draws from Python's or numpy's generators.

    Example:
        >>> state = rng_state()
        >>> first = torch.rand(3)
        >>> set_rng_state(state)
        >>> torch.equal(first, torch.rand(3))
        True
    """
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: dict[str, Any]) -> None:
    """Put back what :func:`rng_state` took.

    CUDA states are put back only where there are as many CUDA devices as when they were taken; or,
    in each of several processes, that of the first one's device on its own.

    Example:
        >>> set_rng_state(rng_state())
    """
    torch.set_rng_state(state["cpu"])
    if not torch.cuda.is_available():
        return
    if processes.count() > 1:
        if state["cuda"]:
            torch.cuda.set_rng_state(state["cuda"][0])
    elif len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
