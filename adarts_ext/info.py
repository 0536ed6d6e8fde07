"""What is installed, built and loaded here, and the command that mends what is missing.

python -m adarts_ext.info
"""

from __future__ import annotations

import importlib.util
import platform
from importlib.metadata import PackageNotFoundError, version

import torch

import adarts_ext
from adarts_ext import _library
from adarts_ext.nn.fused import MOST_CHANNELS, MOST_SELECTED
from adarts_ext.ops.common import CELL_DTYPES

EXTRAS = {
    "search": ("torchvision", "tensorboard", "matplotlib", "tqdm", "jsonargparse"),
    "demo": ("sklearn",),
    "bench": ("pytest", "pytest_benchmark", "matplotlib"),
}
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # where the name to install is not the one to import


def rows() -> list[tuple[str, str]]:
    """Return what there is to say as (subject, finding) pairs."""
    return [
        ("adarts_ext", adarts_ext.__version__),
        ("python", platform.python_version()),
        ("torch", torch.__version__),
        ("CPU library", _cpu()),
        ("CUDA library", _cuda()),
        ("compiled kernels", _kernels()),
        ("fused cell", _fused_cell()),
        ("devices", _devices()),
        *((f"extra '{extra}'", _extra(names)) for extra, names in EXTRAS.items()),
    ]


def _cpu() -> str:
    torch_level = torch.backends.cpu.get_cpu_capability()
    return (
        f"loaded (x86-64 level {_library.cpu_level()}, see ADARTS_CPU_LEVEL; "
        f"torch at {torch_level}, {torch.get_num_threads()} threads)"
    )


def _cuda() -> str:
    if _library.cuda_error is None:
        toolkit = torch.ops.adarts_ext.cuda_toolkit()
        architectures = torch.ops.adarts_ext.cuda_architectures()
        names = ", ".join(f"sm_{number // 10}" for number in architectures)
        return f"loaded (CUDA {toolkit // 1000}.{toolkit % 1000 // 10}; {names})"
    if torch.version.cuda is None:
        return f"not loaded: {_library.cuda_error}; a torch with CUDA comes from: pip install torch"
    if not torch.cuda.is_available():
        return f"not loaded: {_library.cuda_error}; not needed here, torch finds no CUDA device"
    return f"not loaded: {_library.cuda_error}; build it with: ADARTS_CUDA=1 {_library.REBUILD}"


def _kernels() -> str:
    if _library.cuda_error is None:
        return "cpu, cuda"
    return "cpu; other devices run the operators' plain torch definitions"


def _fused_cell() -> str:
    *some, last = (str(dtype).removeprefix("torch.") for dtype in CELL_DTYPES)
    devices = "cpu, cuda" if _library.cuda_error is None else "cpu"
    return (
        f"{devices}; {', '.join(some)} and {last}; 1 to {MOST_SELECTED} selected of at "
        f"most {MOST_CHANNELS} channels; "
        "anything else runs operator by operator"
    )


def _devices() -> str:
    if not torch.cuda.is_available():
        return "cpu"
    names = (torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
    return ", ".join(["cpu", *(f"cuda:{i} {name}" for i, name in enumerate(names))])


def _extra(names: tuple[str, ...]) -> str:
    found, missing = [], []
    for name in names:
        distribution = DISTRIBUTIONS.get(name, name.replace("_", "-"))
        if importlib.util.find_spec(name) is None:
            missing.append(distribution)
            continue
        try:
            found.append(f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            found.append(distribution)
    if not missing:
        return ", ".join(found)
    return f"missing {', '.join(missing)}; install with: pip install {' '.join(missing)}"


def main() -> int:
    """Print the findings as a table."""
    findings = rows()
    width = max(len(subject) for subject, _ in findings)
    for subject, finding in findings:
        print(f"{subject:<{width}}  {finding}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
