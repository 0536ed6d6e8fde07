"""``adarts evaluate``."""

from __future__ import annotations

from adarts_ext.cli.numbers import describe_cost
from adarts_ext.cli.options import OptionParser
from adarts_ext.retrain import evaluate


def run(arguments: list[str]) -> None:
    """Test the network of a retrain run, and print its accuracy."""
    parser = OptionParser(
        "evaluate",
        "Test a retrained network again, as its last checkpoint holds it.",
        "RUN [--data-dir FOLDER] [options]",
    )
    parser.add_argument("run", metavar="RUN", type=str, help="folder of a run of adarts retrain")
    parser.add_argument(
        "--data-dir",
        type=str,
        metavar="FOLDER",
        help="the data set's files, if they have been moved",
    )
    parser.add_argument("--download", action="store_true", help="fetch it when it is not there")
    parser.add_argument(
        "--device",
        type=str,
        help="auto (CUDA where there is one, else the CPU), cpu, cuda or cuda:<number> "
        "(default: auto)",
    )
    parser.add_candidates()
    given = parser.given(arguments)
    result = evaluate(given.pop("run"), **given)
    print(
        f"test accuracy {result['test_accuracy']:.4f}, test loss {result['test_loss']:.4f} on "
        f"{result['test_images']} images of {result['dataset']}, after {result['epoch']} of "
        f"{result['epochs']} epochs"
    )
    print(describe_cost(result["parameters"], result["macs"], result["flops"]))
