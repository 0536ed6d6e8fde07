"""``python -m adarts_ext.runs.share``: one GPU's share of the runs of several seeds.

:mod:`adarts_ext.runs.devices` starts it, and says on stdin, as JSON, what to do.
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


def describe_share(experiment: Experiment, runs: Sequence[SeedRun]) -> str:
    """Write down which runs a process is to make."""
    genotype = experiment.genotype
    return json.dumps(
        {
            "candidates": LOADED,
            "genotype": None if genotype is None else genotype.to_json(),
            "runs": [
                {"config": asdict(run.config), "folder": str(run.folder), "resume": run.resume}
                for run in runs
            ],
        }
    )


def read_share(text: str) -> tuple[Experiment, list[SeedRun]]:
    """Read what :func:`describe_share` wrote."""
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
        SeedRun(Config(**run["config"]), Path(run["folder"]), run["resume"])
        for run in share["runs"]
    ]
    return experiment, runs


def main() -> int:
    """Make the runs; return the exit status: 0, 1 for an error, 130 for Ctrl-C."""
    try:
        experiment, runs = read_share(sys.stdin.read())
        run_in_turn(experiment, run_data(runs[0].config, None), runs)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
