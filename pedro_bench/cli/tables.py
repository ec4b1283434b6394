"""`python -m pedro_bench.cli.tables`: results/runs -> results/tables, as .tex, .md, .csv and a page.

One table for each suite, backbone and data source, a table of a paper with all its backbones;
`report.html`, which opens in any browser without a network, shows all that were asked for.

    table=table1 suite=main         only these; a list asks for several
    results_dir=results             where the records are
    tables_dir=results/tables       where the tables go
    output=text|json                what is printed
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.folders import check_folder
from pedro_bench.cli.overrides import only_extra
from pedro_bench.cli.recorded import RECORDED, recorded
from pedro_bench.files import write_text
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.delimited import comma_separated
from pedro_bench.reporting.latex import latex
from pedro_bench.reporting.markdown import markdown
from pedro_bench.reporting.page import page
from pedro_bench.reporting.report import Report

DEFAULTS = {**RECORDED, "tables_dir": None, "output": "text"}
"""The command's keys."""
PAGE = "report.html"
_FORMATS = {".tex": latex, ".md": markdown, ".csv": comma_separated}


def tables(arguments: Sequence[str]) -> int:
    """Write the tables; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, there are no records, or a record is damaged.
    """
    own = only_extra(arguments, DEFAULTS)
    check_output(own["output"])
    folder = Path(str(own["tables_dir"] or Path(str(own["results_dir"])) / "tables"))
    check_folder("tables_dir", folder)
    built = reports(recorded(own))
    written = [path for table in built for path in _write(table, folder)]
    write_text(folder / PAGE, page(built))
    written.append(folder / PAGE)
    _report(built, written, as_json=own["output"] == "json")
    return DONE


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
    sys.exit(guarded(tables, sys.argv[1:], __doc__))
