"""``adarts profile``."""

from __future__ import annotations

import statistics

from adarts_ext.bench.genotype_profile import ProfileConfig, profile_genotype
from adarts_ext.cli.genotypes import GENOTYPE_HELP, find_genotype
from adarts_ext.cli.numbers import describe_cost
from adarts_ext.cli.options import OptionParser


def run(arguments: list[str]) -> None:
    """Measure what the network of a genotype costs, and print it."""
    parser = OptionParser(
        "profile",
        "Say how large, how fast and how hungry the network of a genotype is on this machine. It "
        "is the network that retrain trains by default, without its auxiliary head.",
        "GENOTYPE|RUN [options]",
    )
    parser.add_argument("genotype", metavar="GENOTYPE|RUN", type=str, help=GENOTYPE_HELP)
    parser.add_candidates()
    parser.add_config_file()
    parser.add_dataclass(ProfileConfig)
    given = parser.given(arguments)
    genotype = find_genotype(given.pop("genotype"))
    try:
        config = ProfileConfig(**given)
    except ValueError as error:
        parser.refuse(error)
    found = profile_genotype(genotype, config)
    print(describe_cost(found["parameters"], found["macs"], found["flops"]))
    print(
        f"on {found['device']}, {found['threads']} threads, float32, median of {config.rounds} "
        "(minimum to maximum):"
    )
    for name, seconds in found["seconds"].items():
        milliseconds = [1e3 * one for one in seconds]
        images = 1 if name == "one image" else config.batch_size
        middle = statistics.median(milliseconds)
        print(
            f"  {name}: {middle:.4g} ms ({min(milliseconds):.4g} to {max(milliseconds):.4g}), "
            f"{1e3 * images / middle:.4g} images a second"
        )
    print(f"kept for backward, {config.batch_size} images: {found['kept_bytes'] / 1e9:.3g} GB")
