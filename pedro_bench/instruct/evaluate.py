"""Evaluate: a request in, a record out; what is finished is read, what was interrupted goes on."""

import time
from pathlib import Path

from pedro_bench.instruct.alpaca_eval import AlpacaEvalJob
from pedro_bench.instruct.benchmarks import BenchmarkJob
from pedro_bench.instruct.job import VERSIONS, Job, Report, find_run
from pedro_bench.instruct.leaderboard import LEADERBOARD
from pedro_bench.instruct.leaderboard_job import LeaderboardJob
from pedro_bench.instruct.mt_bench import MtBenchJob
from pedro_bench.instruct.record import (
    file_path,
    read_finished,
    write,
    write_rows,
)
from pedro_bench.instruct.request import Request
from pedro_bench.records import EvaluationRecord
from pedro_bench.runs.environment import describe_environment, now, peak_bytes, resolve_device


def evaluate(request: Request, report: Report) -> tuple[EvaluationRecord, Path]:
    """Return the record of an evaluation and where it lies; make it where it is not finished.

    Args:
        request: What to evaluate.
        report: Called with how far the evaluation is.

    Raises:
        PedroBenchError: If the input is bad, before anything heavy is imported; or if the run, its
            data or the judge fails.
    """
    run = find_run(request)
    harness = LeaderboardJob if request.suite in LEADERBOARD else BenchmarkJob
    judged = {"mt_bench": MtBenchJob, "alpaca_eval": AlpacaEvalJob}
    job: Job = judged.get(request.suite, harness)(request, run)
    path = job.record_path
    finished = None if request.rerun else read_finished(path)
    if finished is None:
        finished = _make(job, path, report)
    return finished, path


def _make(job: Job, path: Path, report: Report) -> EvaluationRecord:
    started, clock = now(), time.perf_counter()
    outcome = job.make(path, report)
    files = {
        kind: write_rows(path, file_path(path, kind, outcome.keys.get(kind)), rows)
        for kind, rows in outcome.rows.items()
    }
    device = resolve_device(job.request.device)
    record = EvaluationRecord(
        key=job.key,
        suite=job.request.suite,
        run=job.run.named,
        config={"version": VERSIONS[job.request.suite], **job.config, **outcome.config},
        data={**job.data, "rows": sum(int(part["rows"]) for part in outcome.parts.values())},
        metrics=dict(outcome.metrics),
        parts={name: dict(part) for name, part in outcome.parts.items()},
        files=files,
        shortened=outcome.shortened,
        notes=list(outcome.notes),
        timing={"seconds": round(time.perf_counter() - clock, 3)},
        memory=peak_bytes(_gpu_bytes(device)),
        environment=describe_environment(device),
        started=started,
        finished=now(),
    )
    write(record, path)
    job.clean()
    return record


def _gpu_bytes(device: str) -> int | None:
    """Return the highest memory in use on a GPU, in bytes; None on other devices."""
    import torch

    from pedro_bench.training.machine import peak_memory_bytes

    return peak_memory_bytes(torch.device(device))
