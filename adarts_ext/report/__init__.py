"""Reports of runs and comparisons: one HTML file each, to look at in a browser."""

from adarts_ext.report.write import write_report

__all__ = ["write_report"]
