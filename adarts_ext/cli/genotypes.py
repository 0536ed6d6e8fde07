"""Finding the genotype that an argument names."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.genotype import KNOWN, Genotype, random_genotype
from adarts_ext.genotype_text import MOST_CHARACTERS, parse_genotype
from adarts_ext.runs.folder import CONFIG_FILE, GENOTYPE_FILE, GENOTYPES_FOLDER

GENOTYPE_HELP = (
    f"a genotype: one of {', '.join(KNOWN)}, random:SEED for one drawn at random, the folder of a "
    "run, a file (JSON, or any text that ends with a genotype as DARTS prints it, such as the log "
    "of a search), or such a text itself: 'Genotype(normal=...)'"
)


def find_genotype(name: str) -> Genotype:
    """Return the genotype that an argument names.

    Args:
        name: One of :data:`adarts_ext.genotype.KNOWN`, ``random:SEED``, the folder of a run, the
            path of a file, or what :func:`adarts_ext.genotype_text.parse_genotype` reads.

    Raises:
        ValueError: If there is no such genotype, or the file is damaged.
        FileNotFoundError: If the folder holds no run, or no genotype yet.

    Example:
        >>> find_genotype("random:3") == random_genotype(3)
        True
    """
    if name in KNOWN:
        return KNOWN[name]
    if name.startswith("random:"):
        seed = name.removeprefix("random:")
        if not seed.isdecimal():
            raise ValueError(f"expected a seed, a whole number, after random:, got {seed!r}")
        return random_genotype(int(seed))
    if "Genotype(" in name:
        return parse_genotype(name)
    path = Path(name)
    if path.is_dir():
        path = genotype_file(path)
    elif not path.is_file():
        raise FileNotFoundError(
            f"{name}: neither a file nor a folder, nor one of the known genotypes: "
            f"{', '.join(KNOWN)}, random:SEED"
        )
    return _load(path)


def _load(path: Path) -> Genotype:
    size = path.stat().st_size
    if size > MOST_CHARACTERS:
        raise ValueError(f"{path}: too large for a genotype: {size} bytes, of {MOST_CHARACTERS}")
    if path.suffix == ".json":
        return Genotype.load(path)
    try:
        return parse_genotype(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def genotype_file(folder: Path) -> Path:
    """Find the file with the genotype of a run.

    Raises:
        FileNotFoundError: If the folder holds no run, or its search has not ended.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise FileNotFoundError(f"{folder}: not the folder of a run, it holds no {CONFIG_FILE}")
    if not (folder / GENOTYPE_FILE).is_file():
        latest = latest_genotype_file(folder)
        hint = f"; its latest genotype is {latest}" if latest else ""
        raise FileNotFoundError(f"{folder}: the search has not ended{hint}")
    return folder / GENOTYPE_FILE


def latest_genotype_file(folder: Path) -> Path | None:
    """Find the genotype of the last epoch of a search that has not ended."""
    return max((folder / GENOTYPES_FOLDER).glob("epoch-*.json"), default=None)
