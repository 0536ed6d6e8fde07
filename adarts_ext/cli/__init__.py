"""The command ``adarts``: a thin layer that finds the subcommand and reports what goes wrong."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from typing import NoReturn

from adarts_ext.arguments import as_option, in_words
from adarts_ext.extras import MissingExtraError

# Each is a module of this package with a function run(arguments), imported when chosen; it
# may return an exit status.
COMMANDS = {
    "search": "find a genotype, the structure of the cells that a network is made of",
    "retrain": "train the network of a genotype from random weights, and test it",
    "evaluate": "test a retrained network again",
    "compare": "search by several methods from several seeds, and say how they differ",
    "export": "write a retrained network as ONNX or torch.export, to run without adarts_ext",
    "derive": "derive a genotype from a search again: within a budget, or by another criterion",
    "profile": "say how large, how fast and how hungry the network of a genotype is here",
    "draw": "draw the cells of a genotype, and the history of a search",
    "report": "write what is known of a run or a comparison as a page for the browser",
    "bench": "measure against plain torch, or find the largest batch that fits",
    "info": "say what is installed here, and which compiled kernels are loaded",
}
FIRST_STEPS = """\
first steps, a few minutes on a CPU, with images that come with scikit-learn:
  adarts search --layers 3 --epochs 6 --warmup-epochs 2 --out runs/first
  adarts draw runs/first
  adarts retrain runs/first --layers 5 --init-channels 16 --epochs 10 --out runs/trained
"""

#: The package to install, by the name that is imported.
PACKAGES = {
    "PIL": "pillow",
    "jinja2": "jinja2",
    "jsonargparse": "jsonargparse",
    "matplotlib": "matplotlib",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "submitit": "submitit",
    "tensorboard": "tensorboard",
    "torchvision": "torchvision",
    "tqdm": "tqdm",
    "yaml": "pyyaml",
}

#: Options that make a command take less memory.
LESS_MEMORY = {
    "search": "a smaller --batch-size, --memory recompute or a smaller --image-size",
    "retrain": "a smaller --batch-size or a smaller --image-size",
    "compare": "a smaller batch_size, or memory: recompute for the searches",
    "profile": "a smaller --batch-size",
    "bench": "smaller --batches",
}


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error in one line, and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(argv: list[str] | None = None) -> int:
    """Run the command ``adarts``.

    Args:
        argv: The arguments, without the command's name; None for those of the process.

    Returns:
        The exit status: 0, or 1 for an error, 2 for wrong usage, 130 after Ctrl-C, 143
        after SIGTERM.

    Example:
        >>> main(["--version"])  # doctest: +ELLIPSIS
        adarts ...
        0
    """
    try:
        chosen = _parser().parse_args((sys.argv[1:] if argv is None else argv) or ["--help"])
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return _run(chosen.command, chosen.arguments)
    except SystemExit as stop:  # how argparse ends after --help and after wrong usage
        return stop.code if isinstance(stop.code, int) else 1


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{help_text}" for name, help_text in COMMANDS.items()]
    parser = OneLineParser(
        prog="adarts",
        usage="adarts [-h] [--version] COMMAND ...",
        description="Find the structure of an image classifier by differentiable architecture "
        "search\n(ADARTS, PC-DARTS or DARTS), and train, test and draw what was found.",
        epilog="\n".join(
            [
                "commands:",
                *lines,
                "",
                FIRST_STEPS,
                "adarts COMMAND --help lists a command's options.",
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


class _Version(argparse.Action):
    """Print the version; the package is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"adarts {version('adarts_ext')}")
        parser.exit()


def _run(command: str, arguments: list[str]) -> int:
    try:
        if command == "info":
            from adarts_ext import info

            description = f"{COMMANDS['info'].capitalize()}."
            OneLineParser(prog="adarts info", description=description).parse_args(arguments)
            return info.main() or 0
        return importlib.import_module(f"adarts_ext.cli.{command}").run(arguments) or 0
    except KeyboardInterrupt:
        return _complain(command, "interrupted", 130)
    except MissingExtraError as error:
        return _complain(command, str(error), 1)
    except ModuleNotFoundError as error:
        package = PACKAGES.get((error.name or "").partition(".")[0])
        if package is None:
            raise
        reason = f"{package} is not installed; install it by: pip install {package}"
        return _complain(command, reason, 1)
    except (ValueError, OSError) as error:
        return _complain(command, _one_line(error), 1)
    except (MemoryError, RuntimeError) as error:
        from adarts_ext.memory import is_out_of_memory

        if not is_out_of_memory(error):
            raise
        less = LESS_MEMORY.get(command)
        hint = f"; less is taken with {less}" if less else ""
        return _complain(command, f"out of memory: {_one_line(error)}{hint}", 1)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return " ".join(in_words(error, as_option).split())


def _warn(message: Warning | str, *_: object) -> None:
    """Print a warning in one line, without the line of code that gave it."""
    if _rank():  # the first process says it
        return
    print(f"adarts: warning: {' '.join(str(message).split())}", file=sys.stderr)


def _rank() -> int | None:
    """Return which process this is of several that torchrun started, None for one alone."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    return int(os.environ.get("RANK", "0")) if several else None


def _complain(command: str, message: str, status: int) -> int:
    place = "" if _rank() is None else f"process {_rank()}: "
    print(f"adarts {command}: error: {place}{message}", file=sys.stderr)
    return status
