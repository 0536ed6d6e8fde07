"""Figures as SVG that stands in an HTML page, among others."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from adarts_ext.draw.figure import figure_svg

_DROPPED = ("metadata", "style")  # the page has the one rule that every figure brings
_SMALLEST, _LARGEST = 0.5, 1.2  # how much smaller and larger than it was made a drawing may be
_REFERENCE = re.compile(r'(url\(#|href="#)([\w-]+)')


def inline_svg(figure: Figure, description: str, prefix: str) -> str:
    """Return a figure as an ``<svg>`` element without namespaces, as HTML has it.

    Args:
        figure: The figure.
        description: What a reader who cannot see it is told.
        prefix: Begins all names within it, so that the pictures of a page do not take each other's
            parts. Names that nothing refers to are left out.
    """
    root = ElementTree.fromstring(figure_svg(figure))
    for parent in root.iter():
        for child in list(parent):
            if _local(child.tag) in _DROPPED:
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        for name in list(element.attrib):
            element.set(_local(name), element.attrib.pop(name))
    used = {name for _, name in _REFERENCE.findall(ElementTree.tostring(root, encoding="unicode"))}
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", prefix + own)
        for name, value in element.attrib.items():
            if name == "href":
                element.set(name, value.replace("#", f"#{prefix}"))
            elif "url(#" in value:
                element.set(name, value.replace("url(#", f"url(#{prefix}"))
    width = float(root.attrib.pop("width").removesuffix("pt"))
    del root.attrib["height"]
    root.set("role", "img")
    root.set("aria-label", description)
    root.set("style", f"min-width: {_SMALLEST * width:.0f}pt; max-width: {_LARGEST * width:.0f}pt")
    return ElementTree.tostring(root, encoding="unicode")


def _local(name: str) -> str:
    return name.rpartition("}")[2]
