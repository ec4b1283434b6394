"""Many runs: which are due, who does them, and what they cost.

    plan(settings)   which runs of a configuration are finished; imports no torch
    run(settings)    trains, scores and records what is not, in this process

Everything heavy is imported when the first run that is due needs it.
"""

from pedro_bench.grid.planning import MISSING, plan
from pedro_bench.grid.workers import run

__all__ = ["MISSING", "plan", "run"]
