"""The two implementations of the operators that the modules are built of."""

from __future__ import annotations

from types import ModuleType

from adarts_ext import ops, reference
from adarts_ext.nn.checks import check_choice

#: ``fused`` is compiled, ``reference`` is plain torch.
BACKENDS: dict[str, ModuleType] = {"fused": ops, "reference": reference}


def check_backend(owner: str, backend: str) -> None:
    """Raise ValueError unless ``backend`` is known; the message lists the choices."""
    check_choice(owner, "backend", backend, tuple(BACKENDS))
