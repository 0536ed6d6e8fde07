"""``python -m adarts_ext.runs.share``: one GPU's share of the runs of several seeds.

:mod:`adarts_ext.runs.devices` starts it, and gives it pickled on stdin what to do.
"""

from __future__ import annotations

import pickle
import sys

from adarts_ext.runs.data import run_data
from adarts_ext.runs.experiment import run_in_turn


def main() -> int:
    """Make the runs; return the exit status: 0, 1 for an error, 130 for Ctrl-C."""
    try:
        experiment, runs = pickle.load(sys.stdin.buffer)
        run_in_turn(experiment, run_data(runs[0].config, None), runs)
    except KeyboardInterrupt:
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
