"""The bounds on errors hold on any processor: arithmetic of others, in processes of their own.

Which instructions the kernels, ATen and oneDNN use, and how many threads, decides how sums round.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from adarts_ext._library import cpu_level

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LARGE = ("tests/nn/test_mixed_op.py", "tests/nn/test_fused_network.py")
CHOSEN = ("tests/ops", *LARGE)
EXACTNESS = (
    "matches_reference and float32 or lower_precision or exact_as_plain_torch_in_float32"
    " or as_exact_as_plain_torch and first-True"
)
NEEDS = {"baseline": "sse2", "v3": "avx2", "v4": "avx512vl"}  # as Linux names them
TORCH = {  # what plain torch computes with on a processor of that level
    "baseline": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "v3": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "v4": {},
}
TWO_THREADS = {"OMP_NUM_THREADS": "2"}
# All other tests run what this processor offers.
ARITHMETIC = {
    **{
        level: {"ADARTS_CPU_LEVEL": level, **torch}
        for level, torch in TORCH.items()
        if level != cpu_level()
    },
    "two threads": TWO_THREADS,
}


def python(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def lacks(level: str | None) -> bool:
    return level is not None and NEEDS[level] not in Path("/proc/cpuinfo").read_text()


@pytest.mark.parametrize("environment", ARITHMETIC.values(), ids=ARITHMETIC)
def test_as_exact_as_plain_torch(environment):
    level = environment.get("ADARTS_CPU_LEVEL")
    options = ("-q", "-p", "no:cacheprovider", "--device", "cpu", "-k", EXACTNESS)
    chosen = LARGE if environment == TWO_THREADS else CHOSEN  # torch shares out no small tensors
    made = python(environment, "-m", "pytest", *options, *chosen)
    if lacks(level):
        assert f"ADARTS_CPU_LEVEL is {level}, but this processor has" in made.stdout + made.stderr
    else:
        assert made.returncode == 0, made.stdout + made.stderr


def test_an_unknown_level_is_refused():
    made = python({"ADARTS_CPU_LEVEL": "avx2"}, "-c", "import adarts_ext")
    assert "ADARTS_CPU_LEVEL is avx2, expected baseline, v3 or v4" in made.stderr


def test_the_level_is_told():
    made = python({"ADARTS_CPU_LEVEL": "baseline"}, "-m", "adarts_ext.info")
    assert "x86-64 level baseline" in made.stdout, made.stderr
