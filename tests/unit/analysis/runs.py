"""Records of invented runs for the tests of analysis and reporting; every number here is made up."""

import hashlib
import json
from types import SimpleNamespace

from pedro_bench import files, records
from pedro_bench.analysis.frame import results
from pedro_bench.analysis.tables import tables
from pedro_bench.records import RunRecord

LABELS = {"pedro": "PEDRO", "ia3": "(IA)$^3$", "lora": "LoRA"}
TASKS = {"boolq": "BoolQ", "sst2": "SST-2", "squad": "SQuAD", "generate_beam1": "Beam 1"}


def run(results_dir, method="pedro", task="boolq", seed=0, score=80.0, **changes):
    """Write one record; `r` and `lr` are settings, `examples` the scores of its test examples.

    `groups` adds settings to groups of the configuration; everything else is a field of the record.
    """
    settings = {"name": method, "label": LABELS.get(method, method), "r": changes.pop("r", 12)}
    trainer = {"name": "any", "lr": changes.pop("lr", 0.001), "group_by_length": False}
    config = {"method": settings, "trainer": trainer, "task": {"label": TASKS.get(task, task)}}
    for group, own in changes.pop("groups", {}).items():
        config[group] = {**config.get(group, {}), **own}
    examples = changes.pop("examples", None)
    fields = {
        "key": records.run_key({"task": task, **config, "code": changes.pop("code", 1)}),
        "status": "finished",
        "method": method,
        "task": task,
        "backbone": "micro",
        "data": "micro",
        "suite": "main",
        "seed": seed,
        "config": config,
        "main_metric": "acc",
        "metrics": {"test": {"acc": score}},
        "environment": {"dirty": False},
        "started": f"2026-01-01T00:00:{seed:02d}+00:00",
        **changes,
    }
    if examples is None:
        return records.write(RunRecord(**fields), results_dir)
    names = {name: fields[name] for name in ("method", "task", "backbone", "key", "seed")}
    path = records.predictions_path(records.record_path(results_dir, fields["suite"], **names))
    rows = [{"index": row, "prediction": "yes", "score": one} for row, one in enumerate(examples)]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    files.write_text(path, content)
    fields["predictions"] = {
        "path": f"predictions/{path.name}",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
    }
    return records.write(RunRecord(**fields), results_dir)


def five(results_dir, method="pedro", task="boolq", score=80.0, **changes):
    """Write five seeds whose median is `score`."""
    for seed, offset in enumerate((2.0, -1.0, 0.0, 1.0, -2.0)):
        run(results_dir, method, task, seed, score + offset, **changes)


def built(results_dir, *suites):
    """Return the tables of the records under a folder."""
    return tables(results(results_dir, suites))


def only(results_dir):
    """Return the only table of the records under a folder."""
    (table,) = built(results_dir)
    return table


def rows(results_dir):
    """Return the rows of the only table, each with `cells`: task -> its cell, where it has runs."""
    return [
        SimpleNamespace(
            method=line.method,
            label=line.label,
            settings=line.settings,
            cells={cell.column.task: cell for cell in line.cells if cell.runs},
        )
        for line in only(results_dir).sections[0].lines
        if any(cell.runs for cell in line.cells)
    ]


def seeds(cell, role="shown"):
    """Return the seeds of a cell's runs of one role."""
    return [one.seed for one in cell.runs.get(role, ())]
