"""Command-line options made from the fields of a dataclass, and YAML files of them."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Collection
from dataclasses import fields
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser

EXPECTED = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    int | None: "a whole number",
    str | None: "a text",
}


class OptionParser(ArgumentParser):
    """A parser whose errors are one line and whose options beat the file of ``--config``.

    Only plain types are taken from the command line and from files; nothing in either is ever
    imported or evaluated.

    Args:
        command: The subcommand's name.
        description: What ``--help`` says about it.
        usage: Its arguments, as ``--help`` shows them.
    """

    def __init__(self, command: str, description: str, usage: str) -> None:
        super().__init__(
            prog=f"adarts {command}",
            description=description,
            usage=f"adarts {command} {usage}",
            allow_abbrev=False,
            default_env=False,
            formatter_class=argparse.HelpFormatter,
            print_config=None,
        )
        self.types: dict[str, Any] = {}

    def add_run_folder(self, kind: str) -> None:
        """Add ``--out`` and ``--resume`` of a run of this kind."""
        self.add_argument(
            "--out",
            type=str,
            metavar="RUN",
            help=f"folder of the run (default: a new one, runs/{kind}-...)",
        )
        self.add_argument(
            "--resume",
            action="store_true",
            help="go on with the run in --out, with the options that it was begun with",
        )

    def add_config_file(self) -> None:
        """Add ``--config``."""
        self.add_argument(
            "--config",
            action="config",
            metavar="FILE",
            help="YAML file with options, named as here with _ for -; options on the command line "
            "beat it",
        )

    def add_dataclass(self, config: type, without: Collection[str] = ()) -> None:
        """Add an option for each field of a dataclass, with the help its docstring gives."""
        hints, texts = get_type_hints(config), argument_help(config)
        for field in fields(config):
            if field.name in without:
                continue
            name = "--" + field.name.replace("_", "-")
            kind, default = hints[field.name], field.default
            self.types[field.name] = kind
            text = texts[field.name].rstrip(".").replace("%", "%%")
            if kind is bool:
                text += f" (default: {'yes' if default else 'no'})"
                action = ActionYesNo(yes_prefix="", no_prefix="no-")
                self.add_argument(name, action=action, default=default, help=text)
            else:
                text += "" if default is None else f" (default: {default})"
                metavar = field.name.rpartition("_")[2].upper()
                if "choices" in field.metadata:
                    metavar = "{" + ",".join(field.metadata["choices"]) + "}"
                self.add_argument(name, type=kind, default=default, metavar=metavar, help=text)

    def given(self, arguments: list[str]) -> dict[str, Any]:
        """Parse the arguments; give those that were given, here or in a file, and no defaults."""
        first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
        first.add_argument("--config", action="append", default=[])
        try:
            found, rest = first.parse_known_args(arguments)
        except argparse.ArgumentError as error:
            self.error(str(error))
        files = [f"--config={path}" for path in found.config]
        given = self.parse_args([*files, *rest], defaults=False).as_dict()
        given.pop("config", None)
        return given

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print an error of usage in one line, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {self._shorten(message)}\n")

    def _shorten(self, message: str) -> str:
        wrong = re.match(r'Parser key "(\w+)":.*(?:Got|Given) value: (.*)', message, re.DOTALL)
        if wrong and wrong[1] in self.types:
            return f"{wrong[1]}: expected {EXPECTED[self.types[wrong[1]]]}, got {wrong[2]}"
        return " ".join(re.sub(r'Parser key "(\w+)":', r"\1:", message).split())


def argument_help(config: type) -> dict[str, str]:
    """Read the description of each argument from the ``Args:`` part of a class's docstring.

    Those of the classes that it is made from come first.

    Example:
        >>> class Config:
        ...     '''Options.
        ...
        ...     Args:
        ...         epochs: how many
        ...             times.
        ...         seed: which one.
        ...     '''
        >>> argument_help(Config)
        {'epochs': 'how many times.', 'seed': 'which one.'}
    """
    texts = {}
    for owner in reversed(config.__mro__):
        docstring = inspect.cleandoc(owner.__doc__ or "")
        part = re.search(r"^Args:\n((?:    .*\n?|\n)*)", docstring, re.MULTILINE)
        entries = re.findall(
            r"^    (\w+): (.*(?:\n        .*)*)", part[1] if part else "", re.MULTILINE
        )
        texts |= {name: " ".join(text.split()) for name, text in entries}
    return texts
