"""Search, train, evaluate and draw on scikit-learn's digits, by the commands a user would type.

A random genotype is trained the same way beside the found one. All numbers in the summary are read
from the runs' own files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(os.path.relpath(Path(__file__).parent))
RUNS = Path("runs/demo")


def adarts(*arguments: str | Path) -> None:
    """Run one command as a user would, and stop where it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ adarts {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "adarts_ext", *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def result(run: Path) -> dict:
    """Read what a run wrote about itself."""
    return json.loads((run / "result.json").read_text())


def main() -> None:
    """Run the demo from the start and print its summary."""
    started = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    search, found, random = RUNS / "search", RUNS / "found", RUNS / "random"
    adarts("search", "--config", HERE / "search.yaml", "--out", search)
    adarts("draw", search, "--out", RUNS / "cells.png")
    adarts("retrain", search, "--config", HERE / "retrain.yaml", "--out", found)
    adarts("retrain", "random:0", "--config", HERE / "retrain.yaml", "--out", random)
    adarts("evaluate", found)

    print(f"\nSummary, digits, {(time.monotonic() - started) / 60:.1f} minutes in all:")
    searched = result(search)
    print(f"  search: supernet validation accuracy {searched['validation_accuracy']:.2%}")
    for label, run in (("found", found), ("random", random)):
        trained = result(run)
        print(
            f"  {label} genotype, trained: test accuracy {trained['test_accuracy_last']:.2%} after "
            f"the last of {trained['epochs']} epochs (best: {trained['test_accuracy_best']:.2%} in "
            f"epoch {trained['best_epoch']}), {trained['parameters']:,} parameters"
        )
    drawings = ", ".join(str(path) for path in sorted(RUNS.glob("*.png")))
    print(f"  genotype: {search / 'genotype.json'}\n  drawings: {drawings}")


if __name__ == "__main__":
    main()
