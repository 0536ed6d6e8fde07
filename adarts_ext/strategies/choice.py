"""Strategies by their names, and those of one's own in files."""

from __future__ import annotations

from adarts_ext.arguments import naming, suggestion
from adarts_ext.own_file import run_file
from adarts_ext.strategies.beta_darts import BetaDarts
from adarts_ext.strategies.combined import Combined
from adarts_ext.strategies.darts_minus import DartsMinus
from adarts_ext.strategies.drnas import DrNas, DrNasKl
from adarts_ext.strategies.fair_darts import FairDarts
from adarts_ext.strategies.gdas import Gdas
from adarts_ext.strategies.lambda_darts import LambdaDarts
from adarts_ext.strategies.oles import Oles
from adarts_ext.strategies.p_darts import PDarts
from adarts_ext.strategies.sdarts_adv import SdartsAdv
from adarts_ext.strategies.sdarts_rs import SdartsRs
from adarts_ext.strategies.strategy import Strategy

#: The strategies by name; those that are :class:`Strategy` itself are settings, and no more.
STRATEGIES: dict[str, type[Strategy]] = {
    "adarts": Strategy,
    "pc-darts": Strategy,
    "darts": Strategy,
    "early-stop": Strategy,
    "darts-minus": DartsMinus,
    "fair-darts": FairDarts,
    "sdarts-rs": SdartsRs,
    "sdarts-adv": SdartsAdv,
    "gdas": Gdas,
    "drnas": DrNas,
    "drnas-kl": DrNasKl,
    "beta-darts": BetaDarts,
    "p-darts": PDarts,
    "lambda-darts": LambdaDarts,
    "oles": Oles,
}


def parse_strategy(text: str) -> list[str]:
    """Return the names in a text that chooses strategies, set apart by commas.

    Args:
        text: Names of :data:`STRATEGIES`, and ``FILE.py:CLASS`` for those of one's own. No file is
            looked at.

    Raises:
        ValueError: If a name is unknown or there twice, or one that is only settings is not the
            first, whose settings are taken.

    Example:
        >>> parse_strategy("adarts,beta-darts")
        ['adarts', 'beta-darts']
        >>> parse_strategy("beta-dart")
        Traceback (most recent call last):
        ...
        ValueError: strategy: expected names of adarts, pc-darts, darts, early-stop, darts-minus,
        fair-darts, sdarts-rs, sdarts-adv, gdas, drnas, drnas-kl, beta-darts, p-darts, lambda-darts,
        oles, or FILE.py:CLASS, got 'beta-dart'; did you mean beta-darts?
    """
    names = [name.strip() for name in text.split(",")]
    for place, name in enumerate(names):
        if not is_own(name) and name not in STRATEGIES:
            raise _refused(
                f"expected names of {', '.join(STRATEGIES)}, or FILE.py:CLASS, got {name!r}"
                f"{suggestion(name, STRATEGIES)}"
            )
        if name in names[:place]:
            raise _refused(f"expected every name once, got {name} twice")
        if place and STRATEGIES.get(name) is Strategy:
            raise _refused(
                f"{name} is no more than settings, which are those of the first, {names[0]}; "
                f"expected {name} to be the first or not there"
            )
    return names


def is_own(name: str) -> bool:
    """Return whether a name is that of a class in a file.

    Example:
        >>> is_own("my.py:Mine"), is_own("darts")
        (True, False)
    """
    path, _, owner = name.rpartition(":")
    return path.endswith(".py") and owner.isidentifier()


def make_strategy(text: str) -> Strategy:
    """Make the strategy that a text chooses.

    **A file of one's own is imported, which runs it**, as ``python FILE.py`` would.

    Args:
        text: As for :func:`parse_strategy`.

    Raises:
        ValueError: As :func:`parse_strategy` says; if the strategies do not go together; if a file
            is not there, fails, or has no such class of strategy.

    Example:
        >>> type(make_strategy("darts,beta-darts")).__name__
        'BetaDarts'
    """
    names = parse_strategy(text)
    owners = {name: load_own(name) if is_own(name) else STRATEGIES[name] for name in names}
    made = {name: owner() for name, owner in owners.items() if owner is not Strategy}
    if len(made) > 1:
        return Combined(made)
    return next(iter(made.values()), Strategy())


def load_own(name: str) -> type[Strategy]:
    """Import the class of a strategy from a file, which runs it.

    Args:
        name: ``FILE.py:CLASS``.
    """
    path, _, owner = name.rpartition(":")
    try:
        module = run_file(path, "strategy")
    except ValueError as error:
        raise _refused(f"{name}: {error}") from error
    found = getattr(module, owner, None)
    if not (isinstance(found, type) and issubclass(found, Strategy)):
        got = "nothing of that name" if found is None else repr(found)
        raise _refused(
            f"{name}: expected a class made from adarts_ext.strategies.Strategy, got {got}"
        )
    return found


def _refused(reason: str) -> ValueError:
    return naming(ValueError(f"strategy: {reason}"), "strategy")
