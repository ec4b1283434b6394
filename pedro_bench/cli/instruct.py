"""`python -m pedro_bench.cli.instruct run=RECORD suite=mmlu data.root=DIR`: an instruction-tuned run.

    suite=mmlu       5 examples before each question; which letter is likeliest
    suite=bbh        3 examples with their reasoning; the answer stated in generated text
    suite=mt_bench   two-turn conversations, graded from 1 to 10 by `judge.model`
    suite=alpaca_eval   how often `judge.model` prefers the answer to a reference's
    suite=arc|truthfulqa|winogrande|gsm8k|hellaswag   a benchmark of the Open LLM Leaderboard

    run=RECORD.json                 the run, or its folder of working files
    data=files data.root=DIR        rows in DIR/<suite>/; data=hub data.revision=… takes the Hub's
    tasks=[…] limit=10              some of a suite's tasks, the first rows of each
    max_new_tokens=… max_length=…   of generated text, of prompt and answer
    evaluation.num_beams=… evaluation.batch_size=…
    judge.model=NAME                the judge of both; what may be set of it, with the defaults:
        judge.temperature=0.0 judge.max_tokens=2048 judge.max_requests=500 judge.concurrency=4
        judge.attempts=6 judge.timeout_seconds=120 judge.backoff_seconds=1
    results_dir=DIR                 where its record goes, the run's own results folder unless given
    output_dir=outputs output=text|json rerun=false device=auto

All but the judged suites need the extra `instruct` (lm-evaluation-harness). The judge is any endpoint that
speaks OpenAI's protocol: OPENAI_BASE_URL and OPENAI_API_KEY in the environment. A finished evaluation is not
made again, an interrupted one goes on.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench.cli.command import (
    DONE,
    check_folder,
    check_output,
    guarded,
    logs_to_stderr,
    print_json,
)
from pedro_bench.cli.hydra.overrides import only_extra
from pedro_bench.instruct.evaluate import evaluate
from pedro_bench.instruct.request import DEFAULTS, request_of
from pedro_bench.records import EvaluationRecord


def instruct(arguments: Sequence[str]) -> int:
    """Evaluate one run on one suite; return the exit code."""
    values = only_extra(arguments, DEFAULTS)
    check_output(values["output"])
    request = request_of(values)
    check_folder("results_dir", request.results_dir)
    check_folder("output_dir", request.output_dir)
    with logs_to_stderr():
        record, path = evaluate(request, report=lambda line: _report(request.suite, line))
    if values["output"] == "json":
        print_json(_as_json(record, path))
    else:
        _show(record, path)
    return DONE


def _report(suite: str, line: str) -> None:
    sys.stderr.write(f"{suite}: {line}\n")
    sys.stderr.flush()


def _as_json(record: EvaluationRecord, path: Path) -> dict[str, Any]:
    content = record.as_dict()
    kept = ("suite", "key", "run", "metrics", "parts", "notes")
    return {**{name: content[name] for name in kept}, "record": str(path)}


def _show(record: EvaluationRecord, path: Path) -> None:
    run = record.run
    console = Console()
    title = f"{record.suite} of {run['method']} on {run['backbone']}, seed {run['seed']}"
    console.print(title, markup=False, highlight=False, style="italic")
    table = Table()
    table.add_column("part", overflow="fold")
    metrics = list(dict.fromkeys(name for part in record.parts.values() for name in part))
    for name in metrics:
        table.add_column(escape(name.replace("_", " ")), justify="right")
    for name, part in record.parts.items():
        table.add_row(escape(name), *(_number(part.get(metric)) for metric in metrics))
    console.print(table)
    for name, value in record.metrics.items():
        console.print(f"{name}: {value:.2f}", markup=False, highlight=False)
    for note in record.notes:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"record: {path}", markup=False, highlight=False, soft_wrap=True)


def _number(value: Any) -> str:
    if value is None:
        return "--"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(guarded(instruct, sys.argv[1:], __doc__, rerun_goes_on=True))
