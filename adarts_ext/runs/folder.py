"""The folder of a run, and the names of what it holds."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adarts_ext.arguments import naming
from adarts_ext.files import remove_leftovers
from adarts_ext.runs import processes

CONFIG_FILE = "config.json"
DATASET_FILE = "dataset.json"
MACHINE_FILE = "machine.json"
SEEDS_FILE = "seeds.json"
CHECKPOINT_FILE = "checkpoint.pt"
PREVIOUS_CHECKPOINT_FILE = "checkpoint.previous.pt"
CHECKPOINT_FILES = (CHECKPOINT_FILE, PREVIOUS_CHECKPOINT_FILE)  # the newest first
HISTORY_FILE = "history.json"
GENOTYPE_FILE = "genotype.json"
RESULT_FILE = "result.json"
GENOTYPES_FOLDER = "genotypes"
TENSORBOARD_FOLDER = "tensorboard"


def check_run_folder(path: str | os.PathLike[str], resume: bool) -> Path:
    """Refuse a folder that cannot be a run's, or would mix two runs; write nothing.

    A folder holds a run once it holds a checkpoint or a result. A run that ended before its first
    checkpoint left nothing to resume, so its folder may be used again.

    Args:
        path: The folder; it need not be there when ``resume`` is not set.
        resume: Whether the run that the folder holds is to go on.

    Raises:
        ValueError: If the folder already holds a run, and ``resume`` is not set; or if it holds
            those of several seeds.
        FileNotFoundError: If ``resume`` is set, and the folder holds no checkpoint.
        OSError: If the folder cannot be made or written to.
    """
    folder = Path(path)
    if seed_folders(folder):
        raise ValueError(f"{folder}: holds a run for each of several seeds, expected one or none")
    if resume and not holds_checkpoint(folder):
        message = (
            f"{folder}: no {CHECKPOINT_FILE} to resume from; start the run without resume=True"
        )
        raise naming(FileNotFoundError(message), "resume=True")
    if not resume and (holds_checkpoint(folder) or (folder / RESULT_FILE).exists()):
        message = (
            f"{folder}: already holds a run; go on with it by resume=True, or choose another folder"
        )
        raise naming(ValueError(message), "resume=True")
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not existing.is_dir():
        raise NotADirectoryError(f"{existing}: expected a folder, got a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(f"{existing}: cannot be written to")
    return folder


def seed_folders(folder: Path) -> list[Path]:
    """Find the folders of the runs of several seeds; none where the folder itself holds a run."""
    if (folder / CONFIG_FILE).is_file():
        return []
    found = [path.parent for path in folder.glob(f"seed-*/{CONFIG_FILE}")]
    return sorted(found, key=lambda path: (len(path.name), path.name))


def check_holds_run(folder: Path) -> None:
    """Refuse a folder that holds no run, or the runs of several seeds.

    Raises:
        ValueError: If it holds a run for each seed; the message names them.
        FileNotFoundError: If it holds no run.
    """
    if seeds := seed_folders(folder):
        names = ", ".join(map(str, seeds))
        raise ValueError(f"{folder}: holds a run for each seed; name one of {names}")
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{folder}: not the folder of a run, it holds no {CONFIG_FILE}")


def holds_checkpoint(folder: Path) -> bool:
    """Return whether a folder holds a checkpoint, the newest or the one before."""
    return any((folder / name).is_file() for name in CHECKPOINT_FILES)


def open_run_folder(path: str | os.PathLike[str], resume: bool) -> Path:
    """Check the folder of a run as :func:`check_run_folder` does, and make it with its parents.

    Raises:
        ValueError: If the folder already holds a run, and ``resume`` is not set.
        FileNotFoundError: If ``resume`` is set, and the folder holds no checkpoint.
        OSError: If the folder cannot be made or written to.

    Example:
        >>> import tempfile
        >>> folder = open_run_folder(Path(tempfile.mkdtemp()) / "runs" / "first", resume=False)
        >>> folder.is_dir()
        True
    """
    folder = check_run_folder(path, resume)
    if processes.is_first():
        folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Hold a run's folder, so that no second run works in it at the same time.

    What a run that was killed had begun to write there is removed. Of several processes of a run
    the first one does it.

    Raises:
        ValueError: If another run holds it, in this process or in another one on this machine.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name, sole_run(Path(name)):
        ...     pass
    """
    if not processes.is_first():
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{folder}: another run is at work in this folder") from error
        for part in (folder, folder / GENOTYPES_FOLDER):
            remove_leftovers(part)
        yield
    finally:
        os.close(descriptor)
