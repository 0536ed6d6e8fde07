"""The operators, as they are registered: no list of them is kept in the tests."""

from __future__ import annotations

import torch

import adarts_ext  # noqa: F401  registers them

COMPILED = {
    name.removeprefix("adarts_ext::")
    for name in torch._C._dispatch_get_registrations_for_dispatch_key("CPU")
    if name.startswith("adarts_ext::")
}
OPERATORS = sorted(name for name in COMPILED if not name.endswith("_backward"))
