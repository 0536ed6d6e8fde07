"""YAML files with options."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from adarts_ext.arguments import suggestion
from adarts_ext.runs.options import check_type


def read_options(path: str, types: dict[str, Any]) -> dict[str, Any]:
    """Read a YAML file that gives values to options.

    Nothing in the file is ever imported or evaluated.

    Args:
        path: The file.
        types: The type of every option that the file may hold, by its name with ``_`` for ``-``.

    Raises:
        ValueError: If the file is not YAML, or gives something else than options and values of
            their types; the message names the file and the option.
        OSError: If the file cannot be read.
    """
    return check_options(path, read_yaml(path), types)


def read_yaml(path: str) -> dict[Any, Any]:
    """Read a YAML file of names and what they stand for.

    Nothing in the file is ever imported or evaluated.

    Raises:
        ValueError: If the file is not YAML, or holds something else.
        OSError: If the file cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        found = yaml.safe_load(content)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or not YAML: {error}") from error
    return check_mapping(path, found)


def check_mapping(where: str, found: Any) -> dict[Any, Any]:
    """Refuse what is no mapping from names; return it.

    Raises:
        ValueError: The message says ``where`` it stands.
    """
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected options, each a line 'name: value', got {found!r:.40}")
    return found


def check_options(where: str, found: dict[Any, Any], types: dict[str, Any]) -> dict[str, Any]:
    """Return options by their names with ``_`` for ``-``, each of its type.

    Args:
        where: The file and the place in it, for messages.
        found: What stands there.
        types: The type of every option that may.

    Raises:
        ValueError: If one is unknown or of another type.
    """
    return dict(_option(where, types, key, value) for key, value in found.items())


def _option(where: str, types: dict[str, Any], key: Any, value: Any) -> tuple[str, Any]:
    name = str(key).replace("-", "_")
    if name not in types:
        raise ValueError(f"{where}: unknown option {str(key)!r}{suggestion(name, types)}")
    kind = types[name]
    if kind is float and isinstance(value, str):  # YAML takes 1e-2, without a point, for a text
        with suppress(ValueError):  # the next check tells
            value = float(value)
    try:
        check_type(name, value, kind)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    return name, value
