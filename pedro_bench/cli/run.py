"""One configuration: every seed trained, evaluated and recorded, then a table of seeds."""

from collections.abc import Sequence

from pedro_bench.cli.command import (
    DONE,
    RUN_FAILED,
    logs_to_stderr,
    print_json,
)
from pedro_bench.cli.compose import settings_of
from pedro_bench.cli.folders import check_folders
from pedro_bench.cli.grids import refuse_grid
from pedro_bench.cli.show import runs_as_json, show_runs
from pedro_bench.ranks import is_main


def run(arguments: Sequence[str]) -> int:
    """Check everything, then run; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, before anything heavy is imported or written.
    """
    refuse_grid(arguments)
    settings = settings_of(arguments)
    check_folders(settings)
    from pedro_bench import experiment  # imports torch only when a run is due

    with logs_to_stderr():
        records = experiment.run(settings)
    if is_main():
        if settings.output == "json":
            print_json(runs_as_json(records))
        else:
            show_runs(settings, records)
    return RUN_FAILED if any(record["status"] == "failed" for record in records) else DONE
