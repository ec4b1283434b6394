"""`python -m pedro_bench.cli.figures`: results/runs -> results/figures, as .pdf and .png.

For each suite, backbone and data source: training curves; scores by parameters where a method was run at
several sizes (Figure 3); the learned activations of one run (Figure 2). Activations are copied out of a
run's adapter into a file beside its record when they are first drawn, and are drawn from there.

    table=figure3 suite=main        only these; a list asks for several
    run=RECORD.json                 the run whose activations are drawn
    results_dir=results             where the records are
    figures_dir=results/figures     where the figures go
    output=text|json                what is printed
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.folders import check_folder
from pedro_bench.cli.overrides import only_extra
from pedro_bench.cli.recorded import RECORDED, recorded
from pedro_bench.errors import ConfigError, RecordError
from pedro_bench.files import write_bytes
from pedro_bench.reporting.activations import Activations, read_activations, write_activations
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.curves import task_curves
from pedro_bench.reporting.drawing import rendered
from pedro_bench.reporting.figures import activation_figure, budget_figure, curve_figure
from pedro_bench.reporting.layouts import MICRO
from pedro_bench.reporting.load import Row
from pedro_bench.reporting.points import has_several_sizes
from pedro_bench.reporting.report import Report
from pedro_bench.reporting.stored import Run, read_runs

DEFAULTS = {**RECORDED, "figures_dir": None, "run": None, "output": "text"}
"""The command's keys."""

_LEARNABLE = "rational"

Files = Mapping[str, bytes]


def figures(arguments: Sequence[str]) -> int:
    """Write the figures; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, there are no records, or a record is damaged.
    """
    own = only_extra(arguments, DEFAULTS)
    check_output(own["output"])
    folder = Path(str(own["figures_dir"] or Path(str(own["results_dir"])) / "figures"))
    check_folder("figures_dir", folder)
    asked = None if own["run"] is None else Path(str(own["run"]))
    drawn: list[tuple[str, Files]] = []
    without: list[str] = []
    if asked is not None:
        drawn.append(_activations(_one(asked)))
    else:
        panels = recorded(own)
        drawn += [one for report in reports(panels) for one in _of_report(report)]
        for panel, rows in panels.items():
            found = _first_with_activations(rows)
            if isinstance(found, Run):
                drawn.append(_activations(found))
            elif found:
                without.append(f"{panel.suite}, {panel.backbone}, {panel.data}: {found}")
    written = [path for name, files in drawn for path in _write(folder, name, files)]
    if own["output"] == "json":
        print_json({"figures": [str(path) for path in written], "without_activations": without})
    else:
        print("\n".join(f"written: {path}" for path in written))
        print("".join(f"no activations drawn of {reason}\n" for reason in without), end="")
    return DONE


def _of_report(report: Report) -> Iterator[tuple[str, Files]]:
    """Draw what a report has the data for; a section is named by its backbone where there are several."""
    for section in report.sections:
        of = report.name if len(report.sections) == 1 else f"{report.name}--{section.backbone}"
        shown = task_curves(section)
        if shown:
            yield f"{of}--curves", rendered(partial(curve_figure, report, section, shown))
        if has_several_sizes(section):
            yield f"{of}--budgets", rendered(partial(budget_figure, report, section))


def _first_with_activations(rows: Sequence[Row]) -> Run | str:
    """Return the first run whose activations can be had, else why not; empty where none learned any."""
    reason = ""
    for row in sorted(rows, key=lambda row: (row.method, row.settings)):
        for task in row.cells:
            for run in row.cells[task].finished:
                if dict(run.config.get("method") or {}).get("activation") != _LEARNABLE:
                    continue
                try:
                    _learned(run.path)
                except RecordError as error:
                    reason = reason or str(error)
                    continue
                return run
    return reason


def _one(path: Path) -> Run:
    """Read the record that `run` names.

    Raises:
        ConfigError: If it is not the file of a finished run.
        RecordError: If it is damaged.
    """
    if not path.is_file():
        raise ConfigError(f"run must be the JSON file of a record, got {str(path)!r}.")
    run = read_runs([path])[0]
    if run.status != "finished":
        raise ConfigError(
            f"run must be the record of a finished run, got one that is {run.status}."
        )
    return run


def _activations(run: Run) -> tuple[str, Files]:
    is_micro = MICRO in (run.backbone, run.data)
    learned = _learned(run.path)
    name = f"{run.suite}--{run.backbone}--{run.data}--activations"
    return name, rendered(partial(activation_figure, run, learned, is_micro=is_micro))


def _learned(record: Path) -> Activations:
    """Return a run's activations; where they are not beside the record yet, copy them there."""
    found = read_activations(record)
    if found is None:
        from pedro_bench.cli.learned import learned_activations

        found = learned_activations(record)
        write_activations(record, found)
    return found


def _write(folder: Path, name: str, files: Files) -> list[Path]:
    paths = []
    for kind, content in files.items():
        path = folder / f"{name}.{kind}"
        write_bytes(path, content)
        paths.append(path)
    return paths


if __name__ == "__main__":
    sys.exit(guarded(figures, sys.argv[1:], __doc__))
