"""A share of the runs of several seeds, which another process makes.

What it is to make is said in JSON: :mod:`adarts_ext.runs.slurm` leaves it in a file for each job,
:mod:`adarts_ext.runs.devices` writes it to ``python -m adarts_ext.runs.share`` for each GPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from adarts_ext.genotype import Genotype
from adarts_ext.nn.own_candidates import LOADED, load_candidates
from adarts_ext.runs.data import run_data
from adarts_ext.runs.experiment import Experiment, SeedRun, run_in_turn
from adarts_ext.runs.folder import holds_checkpoint


def describe_share(experiment: Experiment, runs: Sequence[SeedRun]) -> str:
    """Write down which runs a process is to make."""
    genotype = experiment.genotype
    return json.dumps(
        {
            "candidates": LOADED,
            "genotype": None if genotype is None else genotype.to_json(),
            "runs": [{"config": asdict(run.config), "folder": str(run.folder)} for run in runs],
        }
    )


def read_share(text: str) -> tuple[Experiment, list[SeedRun]]:
    """Read what :func:`describe_share` wrote; the runs that were begun go on."""
    share = json.loads(text)
    for file in share["candidates"]:
        load_candidates(file)
    if share["genotype"] is None:
        from adarts_ext.search.config import SearchConfig as Config
        from adarts_ext.search.seeds import SEARCH

        experiment = SEARCH
    else:
        from adarts_ext.retrain.config import RetrainConfig as Config
        from adarts_ext.retrain.seeds import training_of

        experiment = training_of(Genotype.from_json(share["genotype"]))
    runs = [
        SeedRun(Config(**run["config"]), folder, holds_checkpoint(folder))
        for run in share["runs"]
        for folder in [Path(run["folder"])]
    ]
    return experiment, runs


def make_share(text: str) -> None:
    """Make the runs that :func:`describe_share` wrote down.

    Raises:
        ValueError, OSError: As :func:`adarts_ext.runs.experiment.run_in_turn` says.
    """
    experiment, runs = read_share(text)
    run_in_turn(experiment, run_data(runs[0].config, None), runs)


def main() -> int:
    """Make the runs; return the exit status: 0, 1 for an error, 130 for Ctrl-C."""
    try:
        make_share(sys.stdin.read())
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
