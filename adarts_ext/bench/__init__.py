"""The benchmarks: what is compared with plain torch, how it is measured, and what is said of it.

- ``groups``, ``arms``, ``operators`` and ``preprocess``: what is compared, and how large it is;
- ``timing``, ``passes`` and ``fresh``: how it is measured;
- ``parts``: the parts of ``adarts bench``, which ``runner`` runs;
- ``results``, rows in ``results.jsonl``, and ``report``, which reads nothing but them.

``pytest benchmarks`` times the same arms by pytest-benchmark.
"""
