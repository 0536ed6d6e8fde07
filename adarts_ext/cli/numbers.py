"""Sizes and times as people read them."""

from __future__ import annotations


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
