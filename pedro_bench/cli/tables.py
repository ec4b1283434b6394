"""`python -m pedro_bench.cli.tables`: results/runs -> results/tables, as .tex, .md, .csv and a page.

One table for each suite, backbone and data source, a table of a paper with all its backbones;
`report.html`, which opens in any browser without a network, shows all that were asked for.

    table=table1 suite=main         only these; a list asks for several
    costs=true                      with what runs cost: train time, speed, memory, adapter size
    results_dir=results             where the records are
    tables_dir=results/tables       where the tables go
    output=text|json                what is printed
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pedro_bench.analysis.table import Table
from pedro_bench.analysis.tables import tables as tables_of
from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.folders import check_folder
from pedro_bench.cli.hydra.overrides import only_extra
from pedro_bench.cli.hydra.rerun import command_of
from pedro_bench.cli.recorded import RECORDED, recorded
from pedro_bench.errors import ConfigError
from pedro_bench.files import write_text
from pedro_bench.reporting.latex import latex
from pedro_bench.reporting.notes import missing
from pedro_bench.reporting.page import page
from pedro_bench.reporting.text import comma_separated, markdown

DEFAULTS = {**RECORDED, "tables_dir": None, "costs": False, "output": "text"}
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
    if not isinstance(own["costs"], bool):
        raise ConfigError(f"costs must be true or false, got {own['costs']!r}.")
    folder = Path(str(own["tables_dir"] or Path(str(own["results_dir"])) / "tables"))
    check_folder("tables_dir", folder)
    made = tables_of(recorded(own))
    written = {
        folder / f"{table.name}{ending}": render(table, costs=own["costs"])
        for table in made
        for ending, render in _FORMATS.items()
    }
    written[folder / PAGE] = page(made, command_of)
    for path, content in written.items():
        write_text(path, content)
    if own["output"] == "json":
        absent = {table.name: missing(table) for table in made}
        print_json({"tables": list(map(str, written)), "missing": absent})
    else:
        _show(made, list(written), costs=own["costs"])
    return DONE


def _show(made: Sequence[Table], written: Sequence[Path], *, costs: bool) -> None:
    show = partial(markdown, costs=costs)
    print("\n".join([*map(show, made), *(f"written: {path}" for path in written)]))


if __name__ == "__main__":
    sys.exit(guarded(tables, sys.argv[1:], __doc__))
