"""The job of MMLU and BBH."""

from pathlib import Path

from pedro_bench.instruct.benchmark_rows import (
    SHOTS,
    Rows,
    check_tasks,
    data_files,
    local_rows,
)
from pedro_bench.instruct.benchmarks import evaluate_benchmark
from pedro_bench.instruct.contexts import Contexts, context_length
from pedro_bench.instruct.harness import require_harness, task_names
from pedro_bench.instruct.job import Job, Outcome, Tell
from pedro_bench.instruct.plan import Run, batch_size_of, evaluation_key
from pedro_bench.instruct.request import Request, fingerprint
from pedro_bench.protocols.settings import tokens_left
from pedro_bench.runs import load

_KIND = "tasks"


class BenchmarkJob(Job):
    """MMLU or BBH on one run.

    Raises:
        PedroBenchError: If the harness is not installed, or a task or its data is missing.
    """

    def __init__(self, request: Request, run: Run) -> None:
        self.request = request
        self.run = run
        version = require_harness()
        self._names = task_names(request.suite, request.tasks)
        self._rows = self._local() if request.root is not None else None
        self.config = {
            "tasks": list(self._names),
            "limit": request.limit,
            "shots": SHOTS[request.suite],
            "num_beams": request.num_beams or 1,
            "max_new_tokens": request.max_new_tokens,
            "max_length": request.max_length,
            "lm_eval": version,
        }
        files = () if request.root is None else data_files(request.root, request.suite)
        self.data = {"fingerprint": fingerprint(request, files)}
        parts = {"suite": request.suite, "config": self.config, "data": self.data}
        self.key = evaluation_key(run, parts, request.device)

    def make(self, record: Path, tell: Tell) -> Outcome:
        """Load rows and run, and evaluate every task."""
        from pedro_bench.instruct.harness_model import AdaptedLM

        if self.request.rerun:
            self.clean()
        with self.journal(_KIND, self.key) as journal:
            rows = self._rows if self._rows is not None else self._from_hub()
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
            )
            return evaluate_benchmark(lm, contexts, self.request.suite, rows, journal, tell)

    def clean(self) -> None:
        """Remove the journal of tasks."""
        self.journal_path(_KIND, self.key).unlink(missing_ok=True)

    def _local(self) -> Rows:
        return self._chosen(local_rows(str(self.request.root), self.request.suite))

    def _from_hub(self) -> Rows:
        from pedro_bench.instruct.hub_rows import hub_rows

        revision = str(self.request.revision)
        return self._chosen(hub_rows(self.request.suite, revision, self._names))

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
