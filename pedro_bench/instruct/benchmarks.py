"""MMLU and BBH of one run: every task through the harness, journaled, then put together.

`BenchmarkJob` is also what the leaderboard's benchmarks are made by (`leaderboard_job`).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pedro_bench.backbones.family import families
from pedro_bench.data.chat import NONE
from pedro_bench.errors import BackboneError, ConfigError
from pedro_bench.instruct.benchmark_rows import (
    SHOTS,
    Rows,
    check_tasks,
    data_files,
    hub_rows,
    local_rows,
)
from pedro_bench.instruct.contexts import MISREAD, Contexts, context_length
from pedro_bench.instruct.harness import NO_ANSWER, evaluate_task, require_harness, task_names
from pedro_bench.instruct.job import (
    EvaluatedRun,
    Job,
    Outcome,
    Report,
    batch_size_of,
    evaluation_key,
)
from pedro_bench.instruct.kept_batches import KeptBatches
from pedro_bench.instruct.record import Journal
from pedro_bench.instruct.request import Request, fingerprint
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.runs import load

_KIND, _BATCHES = "tasks", "batches"


def evaluate_benchmark(
    lm: Any, contexts: Contexts, suite: str, rows: Rows, journal: Journal, report: Report
) -> Outcome:
    """Evaluate the tasks that the journal does not hold yet, and put all together.

    Args:
        lm: The run as a model of the harness.
        contexts: What the model encodes with, for the number of shortened contexts.
        suite: `mmlu` or `bbh`.
        rows: Rows of every task to evaluate.
        journal: What an interrupted evaluation left.
        report: Called with after each task.
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
        report(f"{number} of {len(rows)} tasks, {task}: accuracy {found.accuracy:.2f}")
    return _together([done[task] for task in rows], contexts.max_length)


def now_and_then(report: Report, seconds: float = 30.0) -> Callable[[int, int], None]:
    """Return a function that reports how many rows of a task are finished, at most every so many seconds."""
    last = time.monotonic()

    def told(done: int, whole: int) -> None:
        nonlocal last
        if done < whole and time.monotonic() - last >= seconds:
            last = time.monotonic()
            report(f"{done} of {whole} rows of the next task")

    return told


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
    is_misread = any(one.get("misread") for one in entries)
    silent = sum(row["prediction"] == NO_ANSWER for row in predictions)
    notes += context_notes(
        shortened, max_length, is_misread=is_misread, silent=silent, rows=len(predictions)
    )
    rows = {"predictions": predictions}
    return Outcome(metrics, parts, rows, notes, shortened, config={"max_length": max_length})


def context_notes(
    shortened: int, max_length: int, *, is_misread: bool, silent: int, rows: int
) -> list[str]:
    """Return a sentence on what was doubtful in contexts and responses, nothing where nothing was."""
    notes = []
    if shortened:
        contexts = "context" if shortened == 1 else "contexts"
        notes.append(f"{shortened} {contexts} lost tokens at their beginning to fit {max_length}.")
    if is_misread:
        notes.append(MISREAD)
    if silent:
        notes.append(f"{silent} of {rows} responses state no answer; they count as wrong.")
    return notes


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


class BenchmarkJob(Job):
    """MMLU or BBH on one run, through the harness.

    Raises:
        PedroBenchError: If the run is an encoder's, the harness is not installed, or a task or its data is
            missing.
    """

    def __init__(self, request: Request, run: EvaluatedRun) -> None:
        self.request = request
        self.run = run
        template = run.record.config["task"].get("chat_template", NONE)
        if template != NONE:
            raise ConfigError(
                f"run must be trained without a chat template for suite={request.suite}, whose prompts "
                f"are the harness's plain ones, got task.chat_template={str(template)[:40]!r}: take "
                "suite=mt_bench or suite=alpaca_eval."
            )
        self._require_decoder()
        version = require_harness(request.suite)
        own = self.settings()
        self._rows = self.local(request.root) if request.root is not None else None
        self.config = {
            **own,
            "limit": request.limit,
            "num_beams": request.num_beams or 1,
            "max_new_tokens": request.max_new_tokens,
            "max_length": request.max_length,
            "lm_eval": version,
        }
        files = () if request.root is None else self.files(request.root)
        self.data = {"fingerprint": fingerprint(request, files)}
        parts = {"suite": request.suite, "config": self.config, "data": self.data}
        self.key = evaluation_key(run, parts, request.device)

    def make(self, record: Path, report: Report) -> Outcome:
        """Load rows and run, and evaluate every task."""
        from pedro_bench.instruct.harness_model import AdaptedLM

        with self.journal(_KIND, self.key) as journal, self.journal(_BATCHES, self.key) as batches:
            rows = self._rows
            if rows is None:
                rows = self.hub(str(self.request.revision))
            saved = load(self.run.path, device=self.request.device)
            shape = saved.adapted.backbone.shape
            whole = context_length(shape.max_positions, self.request.max_length)
            length = tokens_left(whole, saved.adapted.method, shape, "max_length")
            contexts = Contexts(saved.tokenizer, length)
            lm = AdaptedLM(
                saved.adapted,
                contexts,
                batch_size=batch_size_of(self.request, self.run),
                num_beams=self.request.num_beams or 1,
                max_new_tokens=self.request.max_new_tokens,
                progress=now_and_then(report),
                kept=KeptBatches(batches),
            )
            return self.evaluated(lm, contexts, rows, journal, report)

    def clean(self) -> None:
        """Remove the journals of tasks and of batches."""
        self.remove_journal(_KIND, self.key)
        self.remove_journal(_BATCHES, self.key)

    def settings(self) -> dict[str, Any]:
        """Return tasks and examples, which this suite alone decides."""
        self._names = task_names(self.request.suite, self.request.tasks)
        return {"tasks": list(self._names), "shots": SHOTS[self.request.suite]}

    def files(self, root: str) -> Sequence[Path]:
        """Return the files that hold the rows."""
        return data_files(root, self.request.suite)

    def local(self, root: str) -> Any:
        """Read the rows from the files."""
        return self._chosen(local_rows(root, self.request.suite))

    def hub(self, revision: str) -> Any:
        """Load the rows from the Hub at a commit."""
        return self._chosen(hub_rows(self.request.suite, revision, self._names))

    def evaluated(
        self, lm: Any, contexts: Contexts, rows: Any, journal: Journal, report: Report
    ) -> Outcome:
        """Evaluate what the journal does not hold yet, and put all together."""
        return evaluate_benchmark(lm, contexts, self.request.suite, rows, journal, report)

    def _require_decoder(self) -> None:
        """Refuse an encoder's run, told by the family that its record names: no file is read."""
        known, record = families(), self.run.record
        named = [
            one.removeprefix("family.") for one in record.versions if one.startswith("family.")
        ]
        if any(one in known and known[one].kind == "encoder" for one in named):
            raise BackboneError(
                f"run must be of a decoder or an encoder-decoder for suite={self.request.suite}, where "
                f"text is written, got the encoder {record.backbone!r}, which only labels texts: name a "
                "run on another backbone."
            )

    def _chosen(self, rows: Rows) -> Rows:
        """Return the rows of the tasks to evaluate, each up to the limit."""
        suite = self.request.suite
        check_tasks(rows, self._names, SHOTS[suite] if suite == "mmlu" else 0)
        kept = ("dev", "test") if suite == "mmlu" else ("test",)
        return {
            name: {
                split: rows[name][split][: self.request.limit if split == "test" else None]
                for split in kept
            }
            for name in self._names
        }
