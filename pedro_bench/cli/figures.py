"""`python -m pedro_bench.cli.figures`: results/runs -> results/figures: .pdf, .png and their data.

For each suite, backbone and data source: training curves; differences from the best method with intervals
(forest); scores by parameters where a method was run at several sizes (Figure 3); the learned activations of
one run (Figure 2). Activations are copied out of a run's adapter into a file beside its record when they are
first drawn, and are drawn from there.

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
from typing import TYPE_CHECKING

import pandas as pd

from pedro_bench import records
from pedro_bench.analysis.activations import (
    Activations,
    Coefficients,
    read_activations,
    write_activations,
)
from pedro_bench.analysis.frame import runs_of
from pedro_bench.analysis.reading import read_runs
from pedro_bench.analysis.run import Run
from pedro_bench.analysis.series import curve_data, curves, has_several_sizes, point_data
from pedro_bench.analysis.table import Table
from pedro_bench.analysis.tables import tables
from pedro_bench.cli.command import DONE, check_folder, check_output, guarded, print_json
from pedro_bench.cli.hydra.overrides import only_extra
from pedro_bench.cli.tables import RECORDED, asked, recorded
from pedro_bench.errors import RecordError
from pedro_bench.files import write_bytes
from pedro_bench.reporting.figures import activation_figure, budget_figure, curve_figure, rendered
from pedro_bench.reporting.forest import compared, forest_data, forest_figure

if TYPE_CHECKING:
    from torch import Tensor

DEFAULTS = {**RECORDED, "figures_dir": None, "run": None, "output": "text"}
"""The command's keys."""

_LEARNABLE = "rational"
_NUMERATOR, _DENOMINATOR = ".activation.numerator", ".activation.denominator"

Files = Mapping[str, bytes]


def figures(arguments: Sequence[str]) -> int:
    """Write the figures; return the exit code."""
    own = only_extra(arguments, DEFAULTS)
    check_output(own["output"])
    folder = Path(str(own["figures_dir"] or Path(str(own["results_dir"])) / "figures"))
    check_folder("figures_dir", folder)
    record = None if own["run"] is None else Path(str(own["run"]))
    drawn: list[tuple[str, Files]] = []
    without: list[str] = []
    if record is not None:
        records.finished_run(record)
        drawn += map(_activations, read_runs([record]))
    else:
        frame = recorded(own)
        drawn += [one for table in asked(tables(frame), own) for one in _of_table(table)]
        for place, group in frame[frame.shown].groupby(["suite", "backbone", "data"]):
            found = _first_with_activations(runs_of(group))
            if isinstance(found, Run):
                drawn.append(_activations(found))
            elif found:
                without.append(f"{', '.join(place)}: {found}")
    written = [path for name, files in drawn for path in _write(folder, name, files)]
    if own["output"] == "json":
        print_json({"figures": [str(path) for path in written], "without_activations": without})
    else:
        print("\n".join(f"written: {path}" for path in written))
        print("".join(f"no activations drawn of {reason}\n" for reason in without), end="")
    return DONE


def _of_table(table: Table) -> Iterator[tuple[str, Files]]:
    """Draw what a table has the data for; a section is named by its backbone where there are several."""
    for section in table.sections:
        of = table.name if len(table.sections) == 1 else f"{table.name}--{section.backbone}"
        shown = curves(table, section)
        if shown:
            drawn = rendered(partial(curve_figure, table, section, shown))
            yield f"{of}--curves", {**drawn, "csv": _csv(curve_data(shown))}
        if compared(table, section):
            drawn = rendered(partial(forest_figure, table, section))
            yield f"{of}--forest", {**drawn, "csv": _csv(forest_data(table, section))}
        if has_several_sizes(section):
            drawn = rendered(partial(budget_figure, table, section))
            yield f"{of}--budgets", {**drawn, "csv": _csv(point_data(table, section))}


def _csv(frame: pd.DataFrame) -> bytes:
    text: str = frame.to_csv(index=False, float_format="%.10g", lineterminator="\n")
    return text.encode()


def _first_with_activations(runs: Sequence[Run]) -> Run | str:
    """Return the first run whose activations can be had, else why not; empty where none learned any."""
    reason = ""
    for run in sorted(runs, key=lambda run: (run.method, run.settings, run.task, run.seed)):
        activation = (run.config.get("method") or {}).get("activation")
        if run.is_measurement or activation != _LEARNABLE:
            continue
        try:
            _learned(Path(run.path))
        except RecordError as error:
            reason = reason or str(error)
            continue
        return run
    return reason


def _activations(run: Run) -> tuple[str, Files]:
    learned = _learned(Path(run.path))
    name = f"{run.suite}--{run.backbone}--{run.data}--activations"
    return name, rendered(partial(activation_figure, run, learned))


def _learned(record: Path) -> Activations:
    """Return a run's activations; where they are not beside the record yet, copy them there."""
    found = read_activations(record)
    if found is None:
        found = learned_activations(record)
        write_activations(record, found)
    return found


def _write(folder: Path, name: str, files: Files) -> list[Path]:
    paths = []
    for kind, content in files.items():
        path = folder / f"{name}.{kind}"
        write_bytes(path, content, "figures_dir=…")
        paths.append(path)
    return paths


def learned_activations(record: Path) -> Activations:
    """Read the coefficients from the adapter of the run that a record describes.

    Raises:
        RecordError: If the run is not finished, its adapter is gone or damaged, or it learned no
            rational function.
    """
    from pedro_bench.nn.vector_generator import GELU_DENOMINATOR, GELU_NUMERATOR
    from pedro_bench.runs.saved import read_saved

    tensors = read_saved(record).tensors["adapter"]
    layers = {
        1 + int(name.split(".")[1]): Coefficients(
            _plain(tensor), _plain(tensors[name.removesuffix(_NUMERATOR) + _DENOMINATOR])
        )
        for name, tensor in tensors.items()
        if name.startswith("layers.") and name.endswith(_NUMERATOR)
    }
    if not layers:
        raise RecordError(
            f"record {record} must be of a run with method.activation=rational, got one that learned "
            "no activation."
        )
    initial = Coefficients(GELU_NUMERATOR, GELU_DENOMINATOR)
    return Activations(initial, dict(sorted(layers.items())))


def _plain(tensor: "Tensor") -> tuple[float, ...]:
    return tuple(tensor.double().tolist())


if __name__ == "__main__":
    sys.exit(guarded(figures, sys.argv[1:], __doc__))
