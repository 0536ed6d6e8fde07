"""The benchmarks behind ``adarts bench``.

Every part (``ops``, ``cell``, ``step``, ``memory``, ``scaling``, ``fit``) makes groups of arms;
``suite`` runs them as entries of pytest-benchmark, ``results`` reads and writes their JSON, and
``report``, ``plots`` and ``compare`` read nothing but that.
"""
