"""MMLU and BBH of one run: every task through the harness, journaled, then put together."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from pedro_bench.instruct.benchmark_rows import Rows
from pedro_bench.instruct.contexts import MISREAD, Contexts
from pedro_bench.instruct.harness import NO_ANSWER, evaluate_task
from pedro_bench.instruct.job import Outcome, Tell
from pedro_bench.instruct.journal import Journal


def evaluate_benchmark(
    lm: Any, contexts: Contexts, suite: str, rows: Rows, journal: Journal, tell: Tell
) -> Outcome:
    """Evaluate the tasks that the journal does not hold yet, and put all together.

    Args:
        lm: The run as a model of the harness.
        contexts: What the model encodes with, for the number of shortened contexts.
        suite: `mmlu` or `bbh`.
        rows: Rows of every task to evaluate.
        journal: What an interrupted evaluation left.
        tell: Told after each task.
    """
    done = {entry["task"]: entry for entry in journal.entries}
    for number, (task, given) in enumerate(rows.items(), start=1):
        if task in done:
            continue
        before, misread = contexts.shortened, contexts.misread
        found = evaluate_task(lm, suite, task, given)
        entry = {
            "task": task,
            "accuracy": found.accuracy,
            "shortened": contexts.shortened - before,
            "misread": contexts.misread > misread,
            "rows": [dict(row) for row in found.rows],
        }
        journal.append(entry)
        done[task] = entry
        tell(f"{number} of {len(rows)} tasks, {task}: accuracy {found.accuracy:.2f}")
    return _together([done[task] for task in rows], contexts.max_length)


def _together(entries: Sequence[Mapping[str, Any]], max_length: int) -> Outcome:
    """Return the accuracy over all rows, and its mean over tasks; for BBH also the corrected one."""
    answered = [{"task": one["task"], **row} for one in entries for row in one["rows"]]
    predictions = [
        {**row, "index": number, "row": row["index"], "score": 100.0 * row["correct"]}
        for number, row in enumerate(answered)
    ]
    metrics = {
        "accuracy": _percent(predictions, "correct"),
        "macro_accuracy": fmean(one["accuracy"] for one in entries),
    }
    parts = {
        one["task"]: {"accuracy": one["accuracy"], "rows": len(one["rows"]), **_corrected(one)}
        for one in entries
    }
    notes = []
    if _is_corrected(entries):
        metrics["corrected_accuracy"] = _percent(predictions, "corrected_correct")
        metrics["corrected_macro_accuracy"] = fmean(
            one["corrected_accuracy"] for one in parts.values()
        )
        notes.append(_correction_note(predictions))
    shortened = sum(one["shortened"] for one in entries)
    if shortened:
        notes.append(f"{shortened} contexts lost tokens at their beginning to fit {max_length}.")
    if any(one.get("misread") for one in entries):
        notes.append(MISREAD)
    silent = sum(row["prediction"] == NO_ANSWER for row in predictions)
    if silent:
        notes.append(
            f"{silent} of {len(predictions)} responses state no answer; they count as wrong."
        )
    rows = {"predictions": predictions}
    return Outcome(metrics, parts, rows, notes, config={"max_length": max_length})


def _is_corrected(entries: Sequence[Mapping[str, Any]]) -> bool:
    return all("corrected" in row for one in entries for row in one["rows"])


def _corrected(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return a BBH task's corrected accuracy, and on how many answers the two readings differ."""
    if not _is_corrected([entry]):
        return {}
    differing = sum(row["prediction"] != row["corrected"] for row in entry["rows"])
    accuracy = _percent(entry["rows"], "corrected_correct")
    return {"corrected_accuracy": accuracy, "differing_answers": differing}


def _correction_note(rows: Sequence[Mapping[str, Any]]) -> str:
    differing = [row for row in rows if row["prediction"] != row["corrected"]]
    gained = sum(row["corrected_correct"] and not row["correct"] for row in differing)
    lost = sum(row["correct"] and not row["corrected_correct"] for row in differing)
    return (
        f"The harness's filter and the corrected reading differ on {len(differing)} of {len(rows)} "
        f"answers: {gained} are right only as corrected, {lost} only by the filter."
    )


def _percent(rows: Sequence[Mapping[str, Any]], name: str) -> float:
    return 100 * sum(bool(row[name]) for row in rows) / len(rows)
