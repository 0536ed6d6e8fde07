"""The benchmarks behind ``adarts bench``."""
