"""Sizes and times as people read them."""

from __future__ import annotations

import re
from decimal import Decimal

from adarts_ext.arguments import naming


def short_number(value: int) -> str:
    """Write a count with four digits and, from a thousand on, the prefix k, M, G or T.

    Example:
        >>> [short_number(value) for value in (987, 48210, 2897902, 103_456_789, 999_960)]
        ['987', '48.21 k', '2.898 M', '103.5 M', '1.000 M']
    """
    if value < 1000:
        return str(value)
    rounded, prefixes = float(f"{value:.4g}"), "kMGT"
    power = min((len(str(int(rounded))) - 1) // 3, len(prefixes))
    return f"{rounded / 1000**power:#.4g} {prefixes[power - 1]}"


def parse_number(name: str, text: str) -> int:
    """Read a count, which may have the prefix k, M, G or T.

    Args:
        name: What it is called, for the error.
        text: The count.

    Raises:
        ValueError: If the text is something else.

    Example:
        >>> [parse_number("max_params", text) for text in ("987", "3.5M", "1.2 G")]
        [987, 3500000, 1200000000]
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kMGT]?)", text.strip(), re.ASCII)
    if not found:
        message = f"{name}: expected a number such as 3500000 or 3.5M, got {text!r}"
        raise naming(ValueError(message), name)
    return round(Decimal(found[1]) * 1000 ** " kMGT".index(found[2] or " "))


def describe_cost(parameters: int, macs: int, flops: int) -> str:
    """Describe the size of a network in one line.

    Example:
        >>> describe_cost(parameters=2898306, macs=474000000, flops=948000000)
        '2.898 M parameters; 474.0 M MAC an image, which is 948.0 M FLOP (1 MAC = 2 FLOP)'
    """
    return (
        f"{short_number(parameters)} parameters; {short_number(macs)} MAC an image, which is "
        f"{short_number(flops)} FLOP (1 MAC = 2 FLOP)"
    )


def describe_time(
    time: dict[str, float], images_per_second: float | None, peak_memory_bytes: int | None
) -> str:
    """Describe in one line where the time of a run went, as its result has it.

    Example:
        >>> describe_time({"data": 0.0, "weight step": 3.0, "other": 1.0}, 64.4, 512_000_000)
        'weight step 3.0 s (75 %), other 1.0 s (25 %); 64 images a second; peak memory 0.51 GB'
    """
    total = sum(time.values())
    parts = [
        f"{part} {s:.1f} s ({s / total:.0%})".replace("%", " %") for part, s in time.items() if s
    ]
    found = [", ".join(parts)] if parts else []
    if images_per_second is not None:
        found.append(f"{images_per_second:.0f} images a second")
    if peak_memory_bytes is not None:
        found.append(f"peak memory {peak_memory_bytes / 1e9:.2f} GB")
    return "; ".join(found)
