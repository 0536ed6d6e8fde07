"""Command-line options made from the fields of a dataclass, and YAML files of them."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Collection
from dataclasses import fields
from typing import Any, NoReturn, get_type_hints

from jsonargparse import ActionYesNo, ArgumentParser

from adarts_ext.arguments import as_option, in_words, suggestion
from adarts_ext.cli.option_file import read_options
from adarts_ext.nn import load_candidates
from adarts_ext.runs.options import EXPECTED


class OptionParser(ArgumentParser):
    """A parser whose errors are one line and whose options beat the file of ``--config``.

    Only plain types are taken from the command line and from files; nothing in either is imported
    or evaluated, but for the files of a strategy and of candidates that the command line names.

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
        self.command = command
        self.types: dict[str, Any] = {}  # of the options that a file may hold
        self.files: dict[str, str] = {}  # which of the options given came from which file

    def add_option(self, name: str, kind: Any, **settings: Any) -> None:
        """Add an option that a file may hold too; ``settings`` are argparse's."""
        self.types[name] = kind
        self.add_argument(as_option(name), **({} if kind is bool else {"type": kind}), **settings)

    def add_run_folder(self, kind: str) -> None:
        """Add ``--out`` and ``--resume`` of a run of this kind."""
        self.add_option(
            "out",
            str,
            metavar="RUN",
            help=f"folder of the run (default: a new one, runs/{kind}-...)",
        )
        self.add_option(
            "resume",
            bool,
            action="store_true",
            help="go on with the run in --out, with the options that it was begun with",
        )

    def add_seeds(self, what: str, default: str) -> None:
        """Add ``--seeds`` and ``--slurm``."""
        self.add_option(
            "seeds",
            int | str,
            metavar="0..7",
            help=f"{what} from each of these seeds, numbers or ranges that commas set apart "
            f"(default: {default}, with --resume those of the run)",
        )
        self.add_option(
            "slurm",
            str,
            metavar="NAME=VALUE,...",
            help="make the runs of several seeds as jobs of Slurm that ask for this, such as "
            "partition=gpu,time=600 (minutes), by submitit's names; a job has one GPU unless "
            "--device is cpu",
        )

    def add_candidates(self) -> None:
        """Add ``--candidates``, which no file may hold: data must not run programs."""
        self.add_argument(
            "--candidates",
            action="append",
            type=str,
            metavar="FILE.py",
            help="a file that registers candidate operations of your own, and is run for that",
        )

    def add_config_file(self) -> None:
        """Add ``--config``."""
        self.add_argument(
            "--config",
            action="append",
            type=str,
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
            kind, default = hints[field.name], field.default
            text = texts[field.name].rstrip(".").replace("%", "%%")
            if kind is bool:
                text += f" (default: {'yes' if default else 'no'})"
                action = ActionYesNo(yes_prefix="", no_prefix="no-")
                self.add_option(field.name, kind, action=action, default=default, help=text)
            else:
                text += "" if default is None else f" (default: {default})"
                metavar = field.name.rpartition("_")[2].upper()
                if "choices" in field.metadata:
                    metavar = "{" + ",".join(field.metadata["choices"]) + "}"
                self.add_option(field.name, kind, default=default, metavar=metavar, help=text)

    def given(self, arguments: list[str]) -> dict[str, Any]:
        """Parse the arguments; give those that were given, here or in a file, and no defaults.

        The files of candidates are run first.
        """
        given = self.parse_args(arguments, defaults=False).as_dict()
        options: dict[str, Any] = {}
        for path in given.pop("candidates", None) or []:
            try:
                load_candidates(path)
            except ValueError as error:
                self.refuse(error)
        for path in given.pop("config", None) or []:
            try:
                found = read_options(path, self.types)
            except OSError as error:
                self.error(f"--config: {path}: {error.strerror}")
            except ValueError as error:
                self.error(str(error))
            options |= found
            self.files |= dict.fromkeys(found, path)
        for name in given:
            self.files.pop(name, None)
        return options | given

    def refuse(self, error: ValueError) -> NoReturn:
        """Print an error about an option as :meth:`error` does, and in which file it stands."""
        names = getattr(error, "argument_names", ())
        text = in_words(error, lambda name: name if name in self.files else as_option(name))
        files = [f"{self.files[name]}: " for name in names if name in self.files]
        self.error("".join(files[:1]) + text)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print an error of usage in one line, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {self._in_our_words(message)}\n")

    def _in_our_words(self, message: str) -> str:
        """Shorten what jsonargparse says."""
        wrong = re.match(r'Parser key "(\w+)":.*(?:Got|Given) value: (.*)', message, re.DOTALL)
        if wrong and wrong[1] in self.types:
            expected = EXPECTED[self.types[wrong[1]]]
            return f"{as_option(wrong[1])}: expected {expected}, got {wrong[2]}"
        missing = re.match("the following arguments are required: (.*)", message)
        if missing:
            names = {action.dest: action.metavar for action in self._actions}
            return f"expected {names[missing[1]]}, got nothing; adarts {self.command} --help"
        unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
        if unknown:
            message += suggestion(unknown[1], self._option_string_actions)
        return " ".join(message.split())


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
