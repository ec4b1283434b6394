"""Recorded: the records that a command asks for with results_dir, table and suite."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pedro_bench.analysis.frame import results
from pedro_bench.analysis.reading import find
from pedro_bench.cli.options import options
from pedro_bench.errors import ConfigError
from pedro_bench.records import check_name

RECORDED = {"results_dir": "results", "table": None, "suite": None}
"""The keys of such a command, with their defaults."""


def recorded(own: Mapping[str, Any]) -> pd.DataFrame:
    """Return the records of the suites that `table` and `suite` name, of all where they name none.

    Raises:
        ConfigError: If there is none.
        RecordError: If a record is damaged, or a name could leave the folder.
    """
    named = (*_names("table", own["table"]), *_names("suite", own["suite"]))
    chosen = list(dict.fromkeys(named))
    results_dir = Path(str(own["results_dir"]))
    if not find(results_dir, chosen):
        wanted = f" of suite {', '.join(chosen)}" if chosen else ""
        raise ConfigError(
            f"results_dir must hold records{wanted}, got none in {str(results_dir / 'runs')!r}: "
            f"make one with python -m pedro_bench {_making(chosen)}."
        )
    return results(results_dir, chosen)


def _names(key: str, given: Any) -> list[str]:
    """Return the suites that a key asks for."""
    names = [name for name in (given if isinstance(given, list) else [given]) if name is not None]
    for name in names:
        check_name(key, name)
    return names


def _making(chosen: Sequence[str]) -> str:
    if chosen and chosen[0] in options("experiment"):
        return f"-m +experiment={chosen[0]}"
    return "method=pedro task=boolq"
