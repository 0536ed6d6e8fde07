"""Trained networks as files that run without this package."""

from adarts_ext.export.images import InputImages
from adarts_ext.export.network import FORMATS, export_network
from adarts_ext.export.run import export_run

__all__ = ["FORMATS", "InputImages", "export_network", "export_run"]
