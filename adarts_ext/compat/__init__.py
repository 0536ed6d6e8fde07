"""Using the fused kernels in existing DARTS-family code."""

from adarts_ext.compat.accelerate import accelerate, acceleration_report, restore
from adarts_ext.compat.report import AccelerationReport, Entry

__all__ = ["AccelerationReport", "Entry", "accelerate", "acceleration_report", "restore"]
