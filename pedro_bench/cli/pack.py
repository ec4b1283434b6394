"""`python -m pedro_bench.cli.pack suite=micro_table1`: a finished suite's files as two Parquet files.

Every command reads packed and loose records alike. A run that is done again lies beside the pack and wins;
packing again takes it in. Nothing is removed before the pack was read back.

    suite=NAME|[NAME,…]        folders of results_dir/runs
    unpack=false               true writes the files again and removes the pack
    results_dir=results
    output=text|json
"""

import sys
from collections.abc import Sequence

from pedro_bench import checks
from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.hydra.overrides import only_extra
from pedro_bench.errors import ConfigError
from pedro_bench.records import packing

DEFAULTS = {"suite": None, "unpack": False, "results_dir": "results", "output": "text"}


def pack(arguments: Sequence[str]) -> int:
    """Pack or unpack suites; return the exit code.

    Raises:
        PedroBenchError: If a suite has no records or is under way, or predictions are not what records say.
    """
    own = only_extra(arguments, DEFAULTS)
    check_output(own["output"])
    checks.flag("unpack", own["unpack"])
    checks.text("results_dir", own["results_dir"])
    if own["suite"] in (None, []):
        raise ConfigError("suite must be given, got nothing: add suite=NAME to the command.")
    suites = own["suite"] if isinstance(own["suite"], list) else [own["suite"]]
    act = packing.unpack if own["unpack"] else packing.pack
    done = {str(suite): act(own["results_dir"], suite) for suite in suites}
    if own["output"] == "json":
        counts = {
            name: {
                "folder": str(one.folder),
                "records": one.records,
                "predictions": one.predictions,
            }
            for name, one in done.items()
        }
        print_json({"suites": counts})
    else:
        word = "unpacked into" if own["unpack"] else "packed in"
        for one in done.values():
            print(f"{one.records} records and {one.predictions} predictions {word} {one.folder}")
    return DONE


if __name__ == "__main__":
    sys.exit(guarded(pack, sys.argv[1:], __doc__))
