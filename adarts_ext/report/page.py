"""The page of a report: its parts, and the HTML that is made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from adarts_ext.report.svg import inline_svg

TEMPLATE = "page.html"


def anchor(title: str) -> str:
    """Return the name by which a link finds the section with a title.

    Example:
        >>> anchor("Seed 3")
        'seed-3'
    """
    return re.sub(r"\W+", "-", title.lower()).strip("-")


@dataclass(frozen=True)
class Text:
    """A paragraph; what stands between backticks in it is code."""

    kind: ClassVar[str] = "text"

    text: str


@dataclass(frozen=True)
class Commands:
    """Command lines, each with what it does."""

    kind: ClassVar[str] = "commands"

    lines: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Facts:
    """The numbers that matter most, each with its name."""

    kind: ClassVar[str] = "facts"

    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Link:
    """A text in a table that leads to the section of that title."""

    text: str
    title: str

    @property
    def anchor(self) -> str:
        """Where it leads to."""
        return anchor(self.title)


@dataclass(frozen=True)
class Table:
    """A table; one with a ``summary`` is folded, and that is what is seen of it."""

    kind: ClassVar[str] = "table"

    columns: Sequence[str]
    rows: Sequence[Sequence[str | Link]]
    summary: str | None = None


@dataclass(frozen=True)
class Picture:
    """A figure, and what it shows."""

    caption: str
    figure: Figure


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, as many in a row as there is room for.

    Args:
        pictures: The pictures.
        width: How wide they are: ``map``, ``curve``, ``cell`` or ``whole``.
        heading: What stands above them.
    """

    kind: ClassVar[str] = "pictures"

    pictures: Sequence[Picture]
    width: str
    heading: str | None = None


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading, to which the list at its top leads."""

    title: str
    blocks: Sequence[Text | Commands | Facts | Table | Pictures]

    @property
    def anchor(self) -> str:
        """By which links find it."""
        return anchor(self.title)


@dataclass(frozen=True)
class Page:
    """A page.

    Args:
        title: Its title.
        lead: What stands below it.
        sections: Its parts, with different titles.
    """

    title: str
    lead: str
    sections: Sequence[Section]

    def html(self) -> str:
        """Write the page: one file that loads nothing, with all text escaped.

        Example:
            >>> page = Page("Search <1>", "begun", [Section("Cells", [Text("see `a < b`")])])
            >>> "<h1>Search &lt;1&gt;</h1>" in page.html()
            True
        """
        environment = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        numbers = count()
        environment.filters["svg"] = lambda picture: Markup(
            inline_svg(picture.figure, picture.caption, f"p{next(numbers)}-")
        )
        return environment.get_template(TEMPLATE).render(page=self) + "\n"
