"""`python -m pedro_bench.cli.tables`: results/runs -> results/tables, as .tex, .md and .csv.

One table for each suite, backbone and data source; `suite=main` or `suite=[main,other]` asks for
some of them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.compose import only_extra
from pedro_bench.cli.folders import check_folder
from pedro_bench.errors import ConfigError
from pedro_bench.records import check_name, write_text
from pedro_bench.reporting.load import load
from pedro_bench.reporting.render import comma_separated, latex, markdown
from pedro_bench.reporting.table import Table, build

_DEFAULTS = {"results_dir": "results", "tables_dir": None, "suite": None, "output": "text"}
_FORMATS = {".tex": latex, ".md": markdown, ".csv": comma_separated}


def tables(arguments: Sequence[str]) -> int:
    """Write the tables; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, there are no records, or a record is damaged.
    """
    own = only_extra(arguments, _DEFAULTS)
    check_output(own["output"])
    suites = own["suite"] if isinstance(own["suite"], list) else [own["suite"]]
    chosen = [suite for suite in suites if suite is not None]
    for suite in chosen:
        check_name("suite", suite)
    results_dir = Path(str(own["results_dir"]))
    folder = Path(str(own["tables_dir"] or results_dir / "tables"))
    check_folder("tables_dir", folder)
    panels = load(results_dir, chosen)
    if not panels:
        wanted = f" of suite {', '.join(chosen)}" if chosen else ""
        raise ConfigError(
            f"results_dir must hold records{wanted}, got none in {str(results_dir / 'runs')!r}: "
            "make one with python -m pedro_bench method=pedro task=boolq."
        )
    built = [build(panel, rows) for panel, rows in panels.items()]
    written = [path for table in built for path in _write(table, folder)]
    _report(built, written, as_json=own["output"] == "json")
    return DONE


def _write(table: Table, folder: Path) -> list[Path]:
    paths = []
    for ending, render in _FORMATS.items():
        path = folder / f"{table.name}{ending}"
        write_text(path, render(table))
        paths.append(path)
    return paths


def _report(built: Sequence[Table], written: Sequence[Path], *, as_json: bool) -> None:
    missing: dict[str, Any] = {table.name: list(table.missing) for table in built}
    if as_json:
        print_json({"tables": [str(path) for path in written], "missing": missing})
        return
    for table in built:
        print(markdown(table))
    print("\n".join(f"written: {path}" for path in written))


if __name__ == "__main__":
    sys.exit(guarded(tables, sys.argv[1:]))
