"""`python -m pedro_bench.cli.tables`: results/runs -> results/tables, as .tex, .md and .csv.

One table for each suite, backbone and data source, a table of a paper with all its backbones;
`table=table1` (or `suite=main`, or a list of them) asks for some.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.compose import only_extra
from pedro_bench.cli.folders import check_folder
from pedro_bench.cli.options import options
from pedro_bench.errors import ConfigError
from pedro_bench.records import check_name, write_text
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.delimited import comma_separated
from pedro_bench.reporting.latex import latex
from pedro_bench.reporting.load import load
from pedro_bench.reporting.markdown import markdown
from pedro_bench.reporting.report import Report

_DEFAULTS = {
    "results_dir": "results",
    "tables_dir": None,
    "table": None,
    "suite": None,
    "output": "text",
}
_FORMATS = {".tex": latex, ".md": markdown, ".csv": comma_separated}


def tables(arguments: Sequence[str]) -> int:
    """Write the tables; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, there are no records, or a record is damaged.
    """
    own = only_extra(arguments, _DEFAULTS)
    check_output(own["output"])
    chosen = [*_names("table", own["table"]), *_names("suite", own["suite"])]
    results_dir = Path(str(own["results_dir"]))
    folder = Path(str(own["tables_dir"] or results_dir / "tables"))
    check_folder("tables_dir", folder)
    panels = load(results_dir, chosen)
    if not panels:
        wanted = f" of suite {', '.join(chosen)}" if chosen else ""
        one = (
            f"-m +experiment={chosen[0]}"
            if chosen and chosen[0] in options("experiment")
            else "method=pedro task=boolq"
        )
        raise ConfigError(
            f"results_dir must hold records{wanted}, got none in {str(results_dir / 'runs')!r}: "
            f"make one with python -m pedro_bench {one}."
        )
    built = reports(panels)
    written = [path for table in built for path in _write(table, folder)]
    _report(built, written, as_json=own["output"] == "json")
    return DONE


def _names(key: str, given: Any) -> list[str]:
    """Return the suites that a key asks for."""
    names = [name for name in (given if isinstance(given, list) else [given]) if name is not None]
    for name in names:
        check_name(key, name)
    return names


def _write(table: Report, folder: Path) -> list[Path]:
    paths = []
    for ending, render in _FORMATS.items():
        path = folder / f"{table.name}{ending}"
        write_text(path, render(table))
        paths.append(path)
    return paths


def _report(built: Sequence[Report], written: Sequence[Path], *, as_json: bool) -> None:
    missing: dict[str, Any] = {table.name: list(table.missing) for table in built}
    if as_json:
        print_json({"tables": [str(path) for path in written], "missing": missing})
        return
    for table in built:
        print(markdown(table))
    print("\n".join(f"written: {path}" for path in written))


if __name__ == "__main__":
    sys.exit(guarded(tables, sys.argv[1:]))
