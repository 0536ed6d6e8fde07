from __future__ import annotations

import re
from pathlib import Path

import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=[f"example {i}" for i in range(len(BLOCKS))])
def test_examples_run(block):
    exec(compile(block, "README.md", "exec"), {})


def test_commands_exist():
    from adarts_ext.cli import COMMANDS

    named = set(re.findall(r"^    adarts (\w+)", README, re.MULTILINE))
    assert named <= set(COMMANDS)
    assert {"search", "retrain", "evaluate", "draw", "info"} <= named
