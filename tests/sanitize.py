"""Runs the tests of our own kernels on a GPU under the tools of NVIDIA's compute-sanitizer.

    python tests/sanitize.py --out FOLDER [--seconds 100] [--tools memcheck racecheck ...]

Each tool has its log in the folder, written as it goes, and so many seconds; the verdicts are
printed, a line each. Where compute-sanitizer is not found, that is said, and nothing failed.
"""

from __future__ import annotations

import argparse
import glob
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What a tool looks at. Memory that torch's kernels wrote counts as written, so initcheck sees all.
OURS = ("--kernel-regex", "kns=adarts")
TOOLS = {
    "memcheck": OURS,
    "racecheck": OURS,
    "synccheck": OURS,
    "initcheck": (),
}
TESTS = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "--device", "cuda")
FILES = ("tests/ops/test_own_kernels.py", "tests/ops/test_limits.py")
CHOSEN = "cuda and not TooLarge and not float64"
SUBFOLDERS = ("bin", "compute-sanitizer")
PLACES = [f"/usr/local/cuda*/{of}" for of in SUBFOLDERS]


def find() -> str | None:
    """Return the path of compute-sanitizer: on the PATH, or where CUDA's toolkit is."""
    homes = filter(None, map(os.environ.get, ("CUDA_HOME", "CUDA_PATH")))
    patterns = [*(f"{home}/{of}" for home in homes for of in SUBFOLDERS), *PLACES]
    places = [place for pattern in patterns for place in sorted(glob.glob(pattern))]
    return shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path=os.pathsep.join(places)
    )


def run(sanitizer: str, tool: str, folder: Path, seconds: float) -> str:
    """Run the tests under a tool and give its verdict."""
    command = [sanitizer, "--tool", tool, "--error-exitcode", "1", *TOOLS[tool]]
    command += [sys.executable, *TESTS, *FILES, "-k", CHOSEN]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        "PYTORCH_NO_CUDA_MEMORY_CACHING": "1",  # so that every tensor has its own bounds
    }
    log = folder / f"{tool}.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            passed = log.read_text().count(" PASSED")
            return f"not done in {seconds:g} s; {passed} tests had passed, see {log.name}"
    return "clean" if status == 0 else f"FAILED with status {status}, see {log.name}"


def main(arguments: list[str] | None = None) -> int:
    """Run the tools one after another; give 1 where one found something."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=100, help="of each tool (default: 100)")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=list(TOOLS))
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    sanitizer, verdicts = find(), []
    if sanitizer is None:
        print("compute-sanitizer is not installed here: skipped", flush=True)
        return 0
    for tool in options.tools:
        verdicts.append(f"{tool}: {run(sanitizer, tool, options.out, options.seconds)}")
        print(verdicts[-1], flush=True)
    return int(any("FAILED" in verdict for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
