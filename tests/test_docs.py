"""The pages for users hold: examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

import pytest

from adarts_ext.cli import COMMANDS, OneLineParser, main
from adarts_ext.cli.options import OptionParser
from adarts_ext.extras import MissingExtraError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in (ROOT / "README.md", ROOT / "examples/README.md", *sorted(ROOT.glob("docs/*.md")))
}
EXAMPLES = [
    pytest.param(name, block, id=f"{name}, example {number}")
    for name, text in PAGES.items()
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
]
COMMAND_LINES = sorted(
    set(re.findall(r"^    (adarts .*?) *(?:#.*)?$", "\n".join(PAGES.values()), re.MULTILINE))
)
LINKS = [
    pytest.param(name, target, id=f"{name} to {target}")
    for name, text in PAGES.items()
    for target in dict.fromkeys(re.findall(r"\]\(([^)\s]+)\)", text))
    if not target.startswith("https://")
]


@pytest.mark.parametrize(("page", "block"), EXAMPLES)
@pytest.mark.usefixtures("own_candidates")
def test_examples_run(page, block):
    try:
        exec(compile(block, page, "exec"), {})
    except MissingExtraError as error:
        pytest.skip(str(error))


class _Parsed(Exception):  # noqa: N818  (it ends a command that was right)
    pass


@pytest.fixture
def _parse_only(monkeypatch):
    """End every subcommand when its arguments are parsed."""

    def stop_after(parser: type[argparse.ArgumentParser], method: str) -> None:
        parse = getattr(parser, method)

        def stop(self, *arguments):
            parsed = parse(self, *arguments)
            if self.prog == "adarts":  # the subcommand is still to come
                return parsed
            raise _Parsed

        monkeypatch.setattr(parser, method, stop)

    stop_after(OneLineParser, "parse_args")
    stop_after(OptionParser, "given")
    monkeypatch.chdir(ROOT)  # where the files of --config are


@pytest.mark.parametrize("line", COMMAND_LINES)
@pytest.mark.usefixtures("_parse_only", "own_candidates")
def test_commands_parse(line):
    with pytest.raises(_Parsed):
        main(shlex.split(line)[1:])


def test_every_command_is_shown():
    assert {line.split()[1] for line in COMMAND_LINES} == set(COMMANDS)


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^    |`)make ([\w-]+)", "".join(PAGES.values()), re.MULTILINE)
    assert {"demo", "test"} <= set(named) <= targets


def anchors(page: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("page", "target"), LINKS)
def test_links_lead_somewhere(page, target):
    path, _, anchor = target.partition("#")
    found = (ROOT / page).parent / path if path else ROOT / page
    assert found.exists()
    if anchor:
        assert anchor in anchors(found.read_text())


def test_readme_leads_to_every_page():
    linked = set(re.findall(r"\]\((\w+/\w+\.md)\)", PAGES["README.md"]))
    assert linked == set(PAGES) - {"README.md"}
