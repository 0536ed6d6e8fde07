"""Finding the genotype that an argument names."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.genotype import KNOWN, Genotype, random_genotype
from adarts_ext.genotype_text import MOST_CHARACTERS, parse_genotype
from adarts_ext.nn.candidates import parse_space
from adarts_ext.runs.folder import GENOTYPE_FILE, GENOTYPES_FOLDER, check_holds_run
from adarts_ext.search.config import SearchConfig

GENOTYPE_HELP = (
    f"a genotype: one of {', '.join(KNOWN)}, random:SEED for one drawn at random, random:SEED:RUN "
    "for one of the candidates and nodes of a search, the folder of a run, a file (JSON, also that "
    "of a NAS-Bench-301 configuration, or any text that ends with a "
    "genotype as DARTS prints it, such as the log of a search), or such a text itself: "
    "'Genotype(normal=...)'"
)


def find_genotype(name: str) -> Genotype:
    """Return the genotype that an argument names.

    Args:
        name: One of :data:`adarts_ext.genotype.KNOWN`, ``random:SEED``, ``random:SEED:RUN`` (at
            random of what the search in that folder chose from), the folder of a run, the path of a
            file, or what :func:`adarts_ext.genotype_text.parse_genotype` reads.

    Raises:
        ValueError: If there is no such genotype, the file is damaged, or the folder holds the runs
            of several seeds.
        FileNotFoundError: If the folder holds no run, or no genotype yet.

    Example:
        >>> find_genotype("random:3") == random_genotype(3)
        True
    """
    if name in KNOWN:
        return KNOWN[name]
    if name.startswith("random:"):
        _, seed, *folder = name.split(":", 2)
        if not seed.isdecimal():
            raise ValueError(f"expected a seed, a whole number, after random:, got {seed!r}")
        if not folder:
            return random_genotype(int(seed))
        search = SearchConfig.load(run_folder(name))
        return random_genotype(int(seed), search.steps, parse_space(search.space))
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


def run_folder(name: str) -> Path:
    """Return the folder of the run in such an argument; no folder lies there where it names none.

    Example:
        >>> str(run_folder("random:3:runs/search")), str(run_folder("random:3"))
        ('runs/search', 'random:3')
    """
    parts = name.split(":", 2)
    return Path(parts[2] if parts[0] == "random" and len(parts) == 3 else name)


def _load(path: Path) -> Genotype:
    size = path.stat().st_size
    if size > MOST_CHARACTERS:
        raise ValueError(f"{path}: too large for a genotype: {size} bytes, of {MOST_CHARACTERS}")
    try:
        return parse_genotype(path.read_text(encoding="utf-8", errors="replace"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def genotype_file(folder: Path) -> Path:
    """Find the file with the genotype of a run.

    Raises:
        ValueError: If the folder holds the runs of several seeds.
        FileNotFoundError: If it holds no run, or its search has not ended.
    """
    check_holds_run(folder)
    if not (folder / GENOTYPE_FILE).is_file():
        latest = latest_genotype_file(folder)
        hint = f"; its latest genotype is {latest}" if latest else ""
        raise FileNotFoundError(f"{folder}: the search has not ended{hint}")
    return folder / GENOTYPE_FILE


def latest_genotype_file(folder: Path) -> Path | None:
    """Find the genotype of the last epoch of a search that has not ended."""
    return max((folder / GENOTYPES_FOLDER).glob("epoch-*.json"), default=None)
