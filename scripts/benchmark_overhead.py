"""Print what a run costs beside training and evaluation, and how long finished keys take to skip.

    python scripts/benchmark_overhead.py              one micro run, and a grid of 1,000 finished keys
    python scripts/benchmark_overhead.py --seeds 3 method=lora task=rte

Targets: time outside of training and evaluation under 5% of a micro run; 1,000 finished keys skipped in
under five seconds; `--help` and bad input without torch in under two. Printed is the clock, and where the
machine is shared the processor time of the process, which neighbours disturb less.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.cli.compose import settings_of
from pedro_bench.experiment import plan


def run(*arguments: str) -> dict[str, Any]:
    """Run a command; return its output, exit code, and seconds by the clock and of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "out": done.stdout,
        "code": done.returncode,
        "seconds": seconds,
        "processor_seconds": processor,
    }
