"""Files of a published data set, unpacked in a folder or still in their archive."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path


class PublishedFiles:
    """The files of one folder, read whole.

    Args:
        path: The folder, or a tar archive that holds it.
        folder: Name of the folder in the archive.

    Raises:
        ValueError: If the archive is damaged.
    """

    def __init__(self, path: Path, folder: str) -> None:
        self.path = path
        self.folder = folder
        self.contents: dict[str, bytes] | None = None if path.is_dir() else self._unpacked()

    def where(self, name: str) -> str:
        """Return where a file is, for messages."""
        return str(self.path / name if self.contents is None else self.path / self.folder / name)

    def has(self, name: str) -> bool:
        """Return whether there is such a file."""
        return (self.path / name).is_file() if self.contents is None else name in self.contents

    def read(self, name: str, md5: str | None = None) -> bytes:
        """Read a file.

        Raises:
            ValueError: If its MD5 checksum is not ``md5``.
            OSError: If it cannot be read.
        """
        content = (self.path / name).read_bytes() if self.contents is None else self.contents[name]
        check_md5(content, md5, self.where(name))
        return content

    def _unpacked(self) -> dict[str, bytes]:
        contents = {}
        try:
            with tarfile.open(self.path) as archive:
                for member in archive:
                    parts = Path(member.name).parts
                    if member.isreg() and parts[:-1] == (self.folder,):
                        contents[parts[-1]] = archive.extractfile(member).read()
        except (tarfile.TarError, EOFError, OSError) as error:
            raise ValueError(f"{self.path}: no archive, or a damaged one: {error}") from error
        return contents


def find_files(data_dir: Path, folder: str, archive: str, needed: str) -> PublishedFiles | None:
    """Find a published folder.

    Args:
        data_dir: The folder, what holds it, its archive, or what holds that.
        folder: Its name.
        archive: Name of its archive.
        needed: Name of a file in it.

    Returns:
        Its files, or None.
    """
    for path in (data_dir / folder, data_dir):
        if (path / needed).is_file():
            return PublishedFiles(path, folder)
    for path in (data_dir, data_dir / archive):
        if path.is_file():
            files = PublishedFiles(path, folder)
            if files.has(needed):
                return files
    return None


def check_md5(content: bytes, md5: str | None, where: str) -> None:
    """Raise ValueError if the MD5 checksum of a content is not ``md5``."""
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise ValueError(f"{where}: not as published: its MD5 is {found}, expected {md5}")
