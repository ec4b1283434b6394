"""`python -m pedro_bench.cli.tables`: results/runs -> results/tables, as .tex, .md, .csv and a page.

One table for each suite, backbone and data source, a table of a paper with all its backbones;
`report.html`, which opens in any browser without a network, shows all that were asked for.

    table=table1 suite=main         only these; a list asks for several; without it all but trials (tune_...)
    costs=true                      with what runs cost: train time, speed, memory, adapter size
    results_dir=results             where the records are
    tables_dir=results/tables       where the tables go
    output=text|json                what is printed
"""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from pedro_bench import checks
from pedro_bench.analysis.frame import results
from pedro_bench.analysis.papers import suite_of
from pedro_bench.analysis.reading import find
from pedro_bench.analysis.table import Table
from pedro_bench.analysis.tables import tables as tables_of
from pedro_bench.cli.command import DONE, check_folder, check_output, guarded, print_json
from pedro_bench.cli.hydra.overrides import only_extra
from pedro_bench.cli.hydra.rerun import command_of
from pedro_bench.cli.options import options
from pedro_bench.errors import ConfigError
from pedro_bench.files import write_text
from pedro_bench.grid.tuning import TRIALS
from pedro_bench.records import check_name, unknown_suites
from pedro_bench.reporting.captions import missing
from pedro_bench.reporting.page import page
from pedro_bench.reporting.text import comma_separated, latex, markdown

RECORDED = {"results_dir": "results", "table": None, "suite": None}
"""The keys that choose records, with their defaults."""
DEFAULTS = {**RECORDED, "tables_dir": None, "costs": False, "output": "text"}
"""The command's keys."""
PAGE = "report.html"
ANEW = "anew"
"""Folder that the page's commands put their records in, so that they do not find these done."""
_FORMATS = {".tex": latex, ".md": markdown, ".csv": comma_separated}


def tables(arguments: Sequence[str]) -> int:
    """Write the tables; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, there are no records, or a record is damaged.
    """
    own = only_extra(arguments, DEFAULTS)
    check_output(own["output"])
    checks.flag("costs", own["costs"])
    folder = Path(str(own["tables_dir"] or Path(str(own["results_dir"])) / "tables"))
    check_folder("tables_dir", folder)
    made = asked(tables_of(recorded(own)), own)
    written = {
        folder / f"{table.name}{ending}": render(table, costs=own["costs"])
        for table in made
        for ending, render in _FORMATS.items()
    }
    written[folder / PAGE] = page(made, partial(command_of, results_dir=ANEW))
    for path, content in written.items():
        write_text(path, content, "tables_dir=…")
    if own["output"] == "json":
        absent = {table.name: missing(table) for table in made}
        print_json({"tables": list(map(str, written)), "missing": absent})
    else:
        _show(made, list(written), costs=own["costs"])
    return DONE


def asked(made: Sequence[Table], own: Mapping[str, Any]) -> list[Table]:
    """Leave out the tables that the records of another one fill too, unless they are asked for.

    Raises:
        ConfigError: If one that is asked for has no records, though its suite has.
    """
    named, suites = _names("table", own["table"]), _names("suite", own["suite"])
    absent = [name for name in named if not any(_is_called(table, [name]) for table in made)]
    if absent:
        raise ConfigError(
            f"table must be one that records fill, got {absent[0]!r}: no run of suite "
            f"{suite_of(absent[0])} was evaluated for it; see python -m pedro_bench.cli.instruct --help."
        )
    return [
        table for table in made if not named or table.suite in suites or _is_called(table, named)
    ]


def _is_called(table: Table, names: Sequence[str]) -> bool:
    return any(table.name.startswith(f"{name}--") for name in names)


def _show(made: Sequence[Table], written: Sequence[Path], *, costs: bool) -> None:
    show = partial(markdown, costs=costs)
    print("\n".join([*map(show, made), *(f"written: {path}" for path in written)]))


def recorded(own: Mapping[str, Any]) -> pd.DataFrame:
    """Return the records of the suites that `table` and `suite` name, of all but trials where they name none.

    Raises:
        ConfigError: If there is none, or none of a suite that is named.
        RecordError: If a record is damaged, or a name could leave the folder.
    """
    named = (*map(suite_of, _names("table", own["table"])), *_names("suite", own["suite"]))
    chosen = list(dict.fromkeys(named))
    results_dir = Path(str(own["results_dir"]))
    found = {path.relative_to(results_dir / "runs").parts[0] for path in find(results_dir, chosen)}
    found = found if chosen else {name for name in found if not name.startswith(TRIALS)}
    absent = [name for name in chosen if name not in found]
    if absent or not found:
        wanted = f" of suite {', '.join(absent)}" if absent else ""
        hint = unknown_suites(results_dir, () if _is_experiment(absent) else absent)
        remedy = f": make one with python -m pedro_bench {_making(absent)}."
        raise ConfigError(
            f"results_dir must hold records{wanted}, got none in {str(results_dir / 'runs')!r}"
            f"{hint or remedy}"
        )
    return results(results_dir, chosen or sorted(found))


def _names(key: str, given: Any) -> list[str]:
    """Return the suites that a key asks for."""
    if given == []:
        raise ConfigError(f"{key} must name one at least, got []: leave it out for all.")
    names = [name for name in (given if isinstance(given, list) else [given]) if name is not None]
    for name in names:
        check_name(key, name)
    return names


def _is_experiment(chosen: Sequence[str]) -> bool:
    return bool(chosen) and chosen[0] in options("experiment")


def _making(chosen: Sequence[str]) -> str:
    if _is_experiment(chosen):
        return f"-m +experiment={chosen[0]}"
    return "method=pedro task=boolq"


if __name__ == "__main__":
    sys.exit(guarded(tables, sys.argv[1:], __doc__))
