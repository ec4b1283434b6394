"""`python -m pedro_bench method=pedro task=boolq`: one configuration, all its seeds.

With `-m` every combination of comma-separated values. Anything wrong with the input becomes
one sentence, with exit code 2, before torch is imported or a file is written.
"""

import sys
from collections.abc import Sequence
from typing import Any

import pedro_bench
from pedro_bench.cli.command import DONE, check_flag, guarded
from pedro_bench.cli.options import CONFIG_DIR, help_text

FLAGS = ("-h", "--help", "--version", "-m", "--multirun", "--cfg", CONFIG_DIR)


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return its exit code."""
    return guarded(_dispatch, arguments)


def _dispatch(arguments: Sequence[str]) -> int:
    before = ["", *arguments]
    words = [  # Hydra's `--cfg job` is `--cfg`
        word
        for word, last in zip(arguments, before, strict=False)
        if (last, word) != ("--cfg", "job")
    ]
    flags = {word for word in words if word.startswith("-")}
    overrides = [word for word in words if not word.startswith("-")]
    for flag in sorted(flags):
        check_flag(flag, FLAGS)
    if flags & {"-h", "--help"}:
        print(help_text())
    elif "--version" in flags:
        print(pedro_bench.__version__)
    elif "--cfg" in flags:
        from pedro_bench.cli.command import print_json

        print_json(_configuration(overrides, is_multirun=bool(flags & {"-m", "--multirun"})))
    elif flags & {"-m", "--multirun"}:
        from pedro_bench.cli.run import multirun

        return multirun(overrides)
    else:
        from pedro_bench.cli.run import run

        return run(overrides)
    return DONE


def _configuration(overrides: Sequence[str], *, is_multirun: bool) -> Any:
    """Return what the same command without `--cfg` would run; of a multirun, each job's configuration."""
    from pedro_bench.cli.hydra.compose import settings_of
    from pedro_bench.cli.hydra.sweep import combinations_of, refuse_grid

    if not is_multirun:
        refuse_grid(overrides)
        return settings_of(overrides).resolved_config
    return {
        "jobs": [
            {"overrides": list(one.overrides), "config": one.settings.resolved_config}
            for one in combinations_of(overrides)
        ]
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
