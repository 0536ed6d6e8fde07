"""Search, train, test and draw on real images, by the commands a user would type.

On Fashion-MNIST where it is installed, on scikit-learn's digits where it is not. Genotypes at
random are trained the same way beside the found one, and the last lines say whether it beats those
of its size. All numbers are read from the comparison's own files.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from adarts_ext.compare import Plan
from adarts_ext.compare.plan import RANDOM
from adarts_ext.compare.rows import ROWS_FILE, read_runs
from adarts_ext.compare.summary import sum_up
from adarts_ext.data.idx import FASHION_MNIST, find_folder

HERE = Path(os.path.relpath(Path(__file__).parent))
RUNS = Path("runs/demo")
ARM = "ADARTS"


def adarts(*arguments: str | Path) -> None:
    """Run one command as a user would, and stop where it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ adarts {' '.join(words)}", flush=True)
    done = subprocess.run([sys.executable, "-m", "adarts_ext", *words], check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def summary(folder: Path) -> list[str]:
    """Say how the found network did beside those at random."""
    arms = {arm.arm: arm for arm in sum_up(Plan.load(folder), read_runs(folder / ROWS_FILE))}
    found, drawn = arms[ARM], arms[RANDOM]
    difference = 100 * found.against_size.mean
    scatter = 100 * drawn.against_size.deviation
    verdict = "better" if difference < 0 else "worse"
    beside = "no more" if abs(difference) <= scatter else "more"
    both = {"found": found, f"mean of {len(drawn.seeds)} at random": drawn}
    lines = [
        f"{name}: test error {100 * arm.error.mean:.2f} %, {arm.parameters.mean:,.0f} parameters"
        for name, arm in both.items()
    ]
    lines.append(
        f"the found network is {abs(difference):.2f} percentage points {verdict} than the mean "
        f"network at random of its size, {beside} than those differ (deviation {scatter:.2f})"
    )
    if found.outside:
        lines.append("its size is outside of theirs, so the line through them is drawn on")
    return lines


def main() -> None:
    """Run the demo from the start and print its summary."""
    started = time.monotonic()
    shutil.rmtree(RUNS, ignore_errors=True)
    name = "digits" if find_folder(FASHION_MNIST, None) is None else "fashion_mnist"
    compared = RUNS / "compared"
    adarts("compare", HERE / f"{name}.yaml", "--out", compared)
    adarts("draw", compared / ARM / "seed-0" / "search", "--out", RUNS / "cells.png")
    adarts("evaluate", compared / ARM / "seed-0" / "retrain")
    adarts("report", compared, "--out", RUNS / "report.html")
    print(f"\nSummary, {name}, {(time.monotonic() - started) / 60:.1f} minutes in all:")
    print("\n".join(f"  {line}" for line in summary(compared)))
    drawings = [*sorted(RUNS.glob("*.png")), compared / "comparison.svg"]
    print(f"  drawings: {', '.join(map(str, drawings))}\n  report:   {RUNS / 'report.html'}")


if __name__ == "__main__":
    main()
