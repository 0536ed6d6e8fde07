"""Every kernel of the search cell waits for the preceding grid before all else."""

from __future__ import annotations

import re
import shutil

import pytest
from kernel_model.cubin import compile_cubin, read
from kernel_model.library import KERNELS

CELL = [path for path in sorted((KERNELS / "cell").iterdir()) if path.suffix in (".cu", ".cuh")]
BOUNDS = r"(?:__launch_bounds__\([^;{]*?\))?"
KERNEL = re.compile(rf"__global__ void\s*{BOUNDS}\s*(\w+)\(.*?\{{(.*?);", re.S)


def test_kernels_wait_first_and_are_launched_so():
    found = []
    for path in CELL:
        text = path.read_text()
        kernels = KERNEL.findall(text)
        assert len(kernels) == len(re.findall(r"^__global__", text, re.M)), path.name
        assert not re.search(r"\blaunch\(|<<<", text), f"{path.name}: launch_dependent, in the cell"
        for name, first in kernels:
            assert first.strip() == "wait_for_preceding_grid()", f"{name} does not wait first"
            found.append(name)
    assert len(found) > 15, found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc")
@pytest.mark.parametrize(("architecture", "waits"), [("sm_80", False), ("sm_90", True)])
def test_the_machine_code_waits(architecture, waits, tmp_path):
    cubin = tmp_path / "kernels.cubin"
    compile_cubin(KERNELS / "cell" / "choose.cu", architecture, cubin)
    for kernel in read(cubin, architecture):
        opcodes = [instruction.opcode for instruction in kernel.code]
        assert ("ACQBULK" in opcodes, "PREEXIT" in opcodes) == (waits, waits)
        if waits:
            assert opcodes.index("ACQBULK") < opcodes.index("LDG")
