"""One benchmark of the leaderboard on one run: its rows through the harness's own task file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pedro_bench.instruct.benchmarks import BenchmarkJob, context_notes
from pedro_bench.instruct.contexts import Contexts
from pedro_bench.instruct.harness import NO_ANSWER, run_task
from pedro_bench.instruct.job import Outcome, Report
from pedro_bench.instruct.leaderboard import FEWSHOT_SEED, LEADERBOARD, Benchmark
from pedro_bench.instruct.leaderboard_rows import (
    Splits,
    check_counts,
    hub_leaderboard,
    leaderboard_files,
    local_leaderboard,
    target_of,
)
from pedro_bench.instruct.record import Journal


def evaluate_leaderboard(lm: Any, suite: str, splits: Splits) -> tuple[float, list[dict[str, Any]]]:
    """Return a benchmark's score in percent, as the harness reports it, and what is kept of each row.

    Args:
        lm: The run as a model of the harness.
        suite: Name of the benchmark.
        splits: Rows of its splits.

    Returns:
        The score; and for each row its index, prediction, target, score in percent and the raw response.
        A prediction is the position of the likeliest answer (by character, with `acc_norm`) or the
        number read; a response the log-likelihoods in nats or the generated text.

    Raises:
        DataError: If the harness cannot make requests of the rows.
    """
    own = LEADERBOARD[suite]
    changes: dict[str, Any] = {"num_fewshot": own.shots}
    if own.shots:
        changes["fewshot_split"] = "train"
    metrics, samples = run_task(lm, own.folder, own.task, splits, seed=FEWSHOT_SEED, **changes)
    chosen = [one for one in samples if one["filter"] == own.filter]
    rows = [
        {
            "index": int(one["doc_id"]),
            "row": int(one["doc_id"]),
            "score": 100 * float(one[own.harness_metric]),
            **_answered(own, one),
            "target": target_of(suite, splits[own.split][int(one["doc_id"])]),
        }
        for one in chosen
    ]
    return 100 * float(metrics[f"{own.harness_metric},{own.filter}"]), rows


def _answered(own: Benchmark, sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return prediction and response of one row."""
    if own.is_generated:
        return {"prediction": str(sample["filtered_resps"][0]), "response": sample["resps"][0][0]}
    scores = [float(score) for score, _ in sample["filtered_resps"]]
    lengths = [1] * len(scores)
    if own.metric == "acc_norm":  # of the answer itself, without the space before it
        lengths = [len(text.removeprefix(" ")) for _, text in sample["arguments"]]
    best = max(range(len(scores)), key=lambda at: scores[at] / lengths[at])
    return {"prediction": best, "response": scores}


class LeaderboardJob(BenchmarkJob):
    """One benchmark on one run.

    Its examples are drawn question after question: all are drawn again where an interrupted one goes on.
    """

    def settings(self) -> dict[str, Any]:
        """Return task, metric and how examples are drawn."""
        own = LEADERBOARD[self.request.suite]
        return {
            "task": own.task,
            "metric": own.metric,
            "shots": own.shots,
            "fewshot_seed": FEWSHOT_SEED,
        }

    def files(self, root: str) -> Sequence[Path]:
        """Return the files of the splits."""
        return leaderboard_files(root, self.request.suite)

    def local(self, root: str) -> Splits:
        """Read the splits."""
        return self._limited(local_leaderboard(root, self.request.suite))

    def hub(self, revision: str) -> Splits:
        """Load the Hub's splits."""
        return self._limited(hub_leaderboard(self.request.suite, revision))

    def _limited(self, splits: Splits) -> Splits:
        check_counts(self.request.suite, splits)
        own = LEADERBOARD[self.request.suite]
        return {**splits, own.split: splits[own.split][: self.request.limit]}

    def evaluated(
        self, lm: Any, contexts: Contexts, rows: Splits, journal: Journal, report: Report
    ) -> Outcome:
        """Evaluate the benchmark, unless the journal holds it already."""
        own = LEADERBOARD[self.request.suite]
        if not journal.entries:
            score, found = evaluate_leaderboard(lm, self.request.suite, rows)
            doubts = {"shortened": contexts.shortened, "misread": contexts.misread > 0}
            journal.append({"score": score, **doubts, "rows": found})
        (entry,) = journal.entries
        report(f"{len(entry['rows'])} rows: {own.metric} {entry['score']:.2f}")
        return _outcome(own, entry, contexts.max_length)


def _outcome(own: Benchmark, entry: Mapping[str, Any], max_length: int) -> Outcome:
    rows = entry["rows"]
    assert abs(fmean(row["score"] for row in rows) - entry["score"]) < 1e-6  # of the same rows
    silent = sum(row["prediction"] == NO_ANSWER for row in rows)
    notes = context_notes(
        entry["shortened"], max_length, is_misread=entry["misread"], silent=silent, rows=len(rows)
    )
    metrics = {own.metric: entry["score"]}
    return Outcome(
        metrics,
        {own.task: {**metrics, "rows": len(rows)}},
        {"predictions": rows},
        notes,
        entry["shortened"],
        config={"max_length": max_length},
    )
