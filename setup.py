"""Builds the two compiled libraries; everything else is in pyproject.toml.

``ADARTS_CUDA`` decides over the CUDA library: ``auto`` (default) builds it for the GPU that is
here, where torch has CUDA and nvcc is found; ``1`` builds it for all architectures on a machine
without a GPU too, and fails where it cannot be built; ``0`` leaves it out. ``ADARTS_CPU=0`` leaves
the CPU library out, for a folder that is lent the one of a wheel.
"""

import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

MINIMUM_TORCH = (2, 11)
# Without a GPU to ask, torch takes no guess: Ampere, Hopper, Blackwell, and PTX for what follows.
DEFAULT_CUDA_ARCHITECTURES = "8.0;9.0;10.0;12.0+PTX"


def toolkit_root() -> str | None:
    """Return the CUDA toolkit nvcc belongs to, also where nvcc on the PATH is only a wrapper."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    nvcc = os.path.join(home, "bin", "nvcc") if home else shutil.which("nvcc")
    if not nvcc or not os.path.exists(nvcc):
        return None
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "empty.cu")
        open(source, "w").close()
        plan = subprocess.run(
            [nvcc, "--dryrun", "-c", source, "-o", source + ".o"],
            capture_output=True,
            text=True,
            check=False,
        )
    found = re.search(r"^#\$ _HERE_=(.+)$", plan.stderr + plan.stdout, re.MULTILINE)
    return os.path.dirname(found.group(1).strip()) if found else None


def cuda_decision(torch_cuda: str | None, root: str | None, gpu: bool) -> tuple[bool, str]:
    """Decide over the CUDA library and say why, in one line."""
    wish = os.environ.get("ADARTS_CUDA", "auto")
    if wish not in ("auto", "0", "1"):
        sys.exit(f"adarts_ext: ADARTS_CUDA is {wish!r}, expected auto, 0 or 1")
    if wish == "0":
        return False, "ADARTS_CUDA=0"
    if torch_cuda is None:
        return False, "this torch is built without CUDA"
    if root is None:
        return False, "no nvcc was found (set CUDA_HOME or put nvcc on the PATH)"
    if wish == "auto" and not gpu:
        return False, "no GPU is here (ADARTS_CUDA=1 builds it for all architectures)"
    return True, f"torch has CUDA {torch_cuda}, nvcc is in {root}/bin"


root = toolkit_root()
if root:  # torch guesses the toolkit from nvcc's place on the PATH, which may be a wrapper's
    os.environ["CUDA_HOME"] = root

import torch  # noqa: E402
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension  # noqa: E402

version = tuple(int(part) for part in torch.__version__.split(".")[:2])
if version < MINIMUM_TORCH:
    sys.exit(f"adarts_ext: building needs torch 2.11 or later, found {torch.__version__}")

with_cuda, reason = cuda_decision(torch.version.cuda, root, torch.cuda.is_available())
print(f"adarts_ext: CUDA library {'on' if with_cuda else 'off'}: {reason}", file=sys.stderr)
if os.environ.get("ADARTS_CUDA") == "1" and not with_cuda:
    sys.exit(f"adarts_ext: ADARTS_CUDA=1 but the CUDA library cannot be built: {reason}")
if with_cuda and not torch.cuda.is_available():
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", DEFAULT_CUDA_ARCHITECTURES)

TARGET = "-DTORCH_TARGET_VERSION=0x020b000000000000"  # the stable ABI of torch 2.11
CXX_FLAGS = [
    "-O3",
    "-g0",
    "-std=c++20",
    "-fopenmp-simd",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fvisibility=hidden",
    "-Wall",
    "-Wno-psabi",  # vectors wider than the baseline's registers never cross a call
    TARGET,
]
NVCC_FLAGS = ["-O3", "-std=c++20", "--expt-relaxed-constexpr", "-DUSE_CUDA", TARGET]

cpu_library = CppExtension(
    "adarts_ext._cpu",
    sorted(
        [
            "csrc/torch/library.cpp",
            *glob.glob("csrc/torch/cpu/*.cpp"),
            *glob.glob("csrc/cpu/**/*.cpp", recursive=True),
        ]
    ),
    extra_compile_args={"cxx": CXX_FLAGS},
    py_limited_api=True,
)
extensions = [] if os.environ.get("ADARTS_CPU") == "0" else [cpu_library]
if with_cuda:
    extensions.append(
        CUDAExtension(
            "adarts_ext._cuda",
            sorted(
                [
                    *glob.glob("csrc/torch/cuda/*.cpp"),
                    *glob.glob("csrc/cuda/**/*.cu", recursive=True),
                ]
            ),
            extra_compile_args={"cxx": [*CXX_FLAGS, "-DUSE_CUDA"], "nvcc": NVCC_FLAGS},
            py_limited_api=True,
        )
    )


class AnyPythonWheel(bdist_wheel):
    """The libraries know no Python, so one wheel serves every Python 3 of a platform."""

    def get_tag(self) -> tuple[str, str, str]:
        """Tag the wheel ``py3-none-<platform>``."""
        return "py3", "none", super().get_tag()[2]


os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
setup(
    ext_modules=extensions,
    cmdclass={
        "build_ext": BuildExtension.with_options(no_python_abi_suffix=True),
        "bdist_wheel": AnyPythonWheel,
    },
)
