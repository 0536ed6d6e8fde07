"""Every operator and the plain torch sequence it replaces, one module an operator, by its name."""

import pkgutil
from importlib import import_module

_MODULES = {
    module.name: import_module(f"{__name__}.{module.name}")
    for module in pkgutil.iter_modules(__path__)
}
#: Those that take feature maps; one on image blocks is timed by its own file in `benchmarks/`.
OPERATORS = {name: one for name, one in _MODULES.items() if not hasattr(one, "as_blocks")}
PROPORTION = 4
#: Channels and side of the supernet's three stages.
STAGES = ((16, 32), (32, 16), (64, 8))
