"""Options that make a trial of a benchmark small."""

from __future__ import annotations

import argparse

from adarts_ext.bench.groups import Size


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Add the options; the defaults are those of the published search."""
    default = Size()
    parser.add_argument("--init-channels", type=int, default=default.channels, metavar="C")
    parser.add_argument("--layers", type=int, default=default.layers)
    parser.add_argument("--size", type=int, default=default.image, help="side of the images")
