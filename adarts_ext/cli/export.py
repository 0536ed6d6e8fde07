"""``adarts export``."""

from __future__ import annotations

from pathlib import Path

from adarts_ext.cli.options import OptionParser
from adarts_ext.export import FORMATS, export_run


def run(arguments: list[str]) -> None:
    """Export the network of a retrain run, and print how far the file is from it."""
    parser = OptionParser(
        "export",
        "Write a retrained network, as its last checkpoint holds it, to a file that runs without "
        "adarts_ext.",
        "RUN --to {onnx,torch-export} --out FILE",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="folder of a run of adarts retrain")
    parser.add_argument(
        "--to",
        type=str,
        choices=tuple(FORMATS),
        help="the format: onnx, or torch-export for what torch.export.load reads",
    )
    parser.add_argument(
        "--out", type=str, metavar="FILE", help="the file, such as net.onnx or net.pt2"
    )
    parser.add_candidates()
    given = parser.given(arguments)
    for name, expected in (("to", f"one of {', '.join(FORMATS)}"), ("out", "a file")):
        if not given.get(name):
            parser.error(f"--{name}: expected {expected}, got nothing")
    folder = Path(given["run"])
    if not folder.is_dir():
        raise ValueError(
            f"{folder}: expected the folder of a run of adarts retrain; a genotype alone has no "
            "trained weights"
        )
    difference = export_run(folder, given["to"], given["out"])
    print(given["out"])
    print(f"largest difference of a logit from the network's, on random images: {difference:.2g}")
