"""`python -m pedro_bench.cli.score task=boolq data=micro predictions=FILE`: scores any system.

FILE holds one JSON object a line, `{"index": row of the split, "prediction": text}`, each row of
the split exactly once, in any order.

    task=… data=…                   as of `python -m pedro_bench`
    predictions=FILE
    backbone=… backbone.adapter=DIR in place of predictions: the backbone's own answers, without training,
                                    with a peft LoRA checkpoint merged into it; evaluation=… device=…
    split=test                      or dev, or train
    output=text|json
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench import checks
from pedro_bench.cli.command import DONE, check_output, guarded, logs_to_stderr, print_json
from pedro_bench.cli.hydra.compose import configuration_of, settings_of
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.data.formats import numbered_lines
from pedro_bench.data.splits import load_splits, with_fewer_test_rows
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.protocols.settings import build_group
from pedro_bench.protocols.task import DataSource, Example, Task
from pedro_bench.reporting.numbers import counted

if TYPE_CHECKING:
    from pedro_bench.integrations.task_metric import TaskMetric


DEFAULTS = {"split": "test", "predictions": None, "output": "text"}
"""The command's own keys."""


def score(arguments: Sequence[str]) -> int:
    """Score a file of predictions, or what a backbone answers; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, or a row is missing, doubled or malformed.
    """
    own, others = split_extra(arguments, DEFAULTS)
    check_output(own["output"])
    names_backbone = any(one.partition("=")[0].partition(".")[0] == "backbone" for one in others)
    if own["predictions"] is None and names_backbone:
        task, examples, metrics = _of_backbone(others, str(own["split"]))
    else:
        task, examples, metrics = _of_file(own["predictions"], others, str(own["split"]))
    notes = task.scoring_notes(examples)
    if own["output"] == "json":
        print_json({"metrics": metrics, "rows": len(examples), "notes": notes})
    else:
        print(f"{task.name}, {own['split']} split, {counted(len(examples), 'row')}")
        print("\n".join(f"  {name:<17} {value:.2f}" for name, value in metrics.items()))
        print("\n".join(f"  {note}" for note in notes), end="\n" if notes else "")
    return DONE


def _of_backbone(
    others: Sequence[str], split: str
) -> tuple[Task, Sequence[Example], Mapping[str, float]]:
    """Score what a backbone answers without training."""
    checks.choice("split", split, ("train", "dev", "test"))
    settings = settings_of(others)
    with logs_to_stderr():
        from pedro_bench.runs.untrained import untrained

        examples, found = untrained(settings, split)
    return settings.task, examples, found.scores


def _of_file(
    place: Any, others: Sequence[str], split: str
) -> tuple[Task, Sequence[Example], Mapping[str, float]]:
    """Score a file of predictions."""
    if not isinstance(place, str):
        raise ConfigError(
            f"predictions must be a JSONL file, got {place!r}: or name a backbone=… to score its own answers."
        )
    config = configuration_of(others)
    task: Task = build_group("task", config["task"])
    source: DataSource = build_group("data", config["data"])
    most = build_group("evaluation", config["evaluation"]).test_rows
    with logs_to_stderr():
        splits = with_fewer_test_rows(load_splits(task, source), task, most)
    examples = splits[split].examples
    texts = read_predictions(Path(place), len(examples))
    answers = [task.extract(text, one) for text, one in zip(texts, examples, strict=True)]
    return task, examples, task.score(answers, examples)


def read_predictions(path: Path, num_rows: int) -> list[str]:
    """Read the prediction of every row, in order of rows.

    Raises:
        DataError: If the file cannot be read, or a row is missing, doubled or malformed.
    """
    try:
        lines = list(numbered_lines(path))
    except OSError as error:
        raise DataError(
            f"predictions must be a readable JSONL file, got {str(path)!r}: {error.strerror or error}."
        ) from error
    found: dict[int, str] = {}
    for number, line in lines:
        index, text = _row(f"{path}:{number}", line, num_rows)
        if index in found:
            raise DataError(f"{path}:{number}: index must stand once, got {index} again.")
        found[index] = text
    for index in range(num_rows):
        if index not in found:
            raise DataError(
                f"{path} must hold each of the {num_rows} rows of the split, got no row {index}."
            )
    return [found[index] for index in range(num_rows)]


def _row(place: str, line: str, num_rows: int) -> tuple[int, str]:
    try:
        row: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: a line must be one JSON object, got {line[:60]!r}.") from error
    if not isinstance(row, dict) or not {"index", "prediction"} <= set(row):
        raise DataError(f"{place}: a line must have index and prediction, got {line[:60]!r}.")
    index, text = row["index"], row["prediction"]
    if type(index) is not int or not 0 <= index < num_rows:
        raise DataError(f"{place}: index must be a row from 0 to {num_rows - 1}, got {index!r}.")
    if not isinstance(text, str):
        raise DataError(f"{place}: prediction must be a text, got {text!r}.")
    checks.encodable_text(f"{place}: prediction", text, DataError)
    return index, text


def metric(task: str, *overrides: str, **options: Any) -> "TaskMetric":
    """Return the metric of a task.

    Args:
        task: Name of the task, as in `task=…`.
        overrides: Settings as on the command line, such as `task.entities_field=null`.
        options: Passed on to `evaluate.Metric`, such as `keep_in_memory` or `experiment_id`.

    Raises:
        ConfigError: If there is no such task, or a setting is wrong.
    """
    checks.text("task", task)
    for override in overrides:
        checks.text("an override", override)
    config = configuration_of([f"task={task}", *overrides])
    built: Task = build_group("task", config["task"])
    from pedro_bench.integrations.task_metric import TaskMetric

    return TaskMetric(built, **options)


if __name__ == "__main__":
    sys.exit(guarded(score, sys.argv[1:], __doc__))
