"""Make the table in docs/micro.md: what the embedded backbone can and cannot do on every micro task.

For each task: the majority answer, the frozen backbone, and full fine-tuning, PEDRO and LoRA over
several seeds. Runs that have finished are not run again, so the script goes on where it was stopped, and
takes over those of `+experiment=micro_table1`.

    python scripts/micro_table.py --seeds 5 --results results --out docs/micro.md
"""

import argparse
import statistics
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from pedro_bench import grid
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.data.encoding import continuation_ids, encode
from pedro_bench.data.micro import TASKS
from pedro_bench.data.splits import Splits, load_splits
from pedro_bench.protocols.settings import Settings

METHODS = ("full_ft", "pedro", "lora")
SUITE = "micro_table1"
OTHER_SUITE = "micro_check"
"""Of the task that table 1 does not have."""
BEGIN, END = "<!-- table: scripts/micro_table.py -->", "<!-- end of table -->"


def majority(settings: Settings, splits: Splits) -> float:
    """Score the commonest training answer as the prediction for every test row."""
    answers = Counter(example.answer for example in splits.train.examples)
    guess = answers.most_common(1)[0][0]
    examples = splits.test.examples
    scores = settings.task.score([guess] * len(examples), examples)
    return scores[settings.task.main_metric]


def frozen(settings: Settings, splits: Splits) -> tuple[float, float | None]:
    """Score the backbone as it is; an untrained LoRA equals it exactly.

    Returns:
        The main metric of what it writes, and where the answers are a closed set, the same of the answer
        that it finds the likeliest.
    """
    from pedro_bench.evaluation.prediction import predict
    from pedro_bench.nn.adapted_model import AdaptedModel
    from pedro_bench.runs.environment import fit_threads

    backbone = settings.backbone.load(device="cpu")
    fit_threads(backbone.shape.num_parameters, "cpu")
    examples = splits.test.examples
    encoded = encode(
        backbone.tokenizer,
        examples,
        max_length=settings.trainer.max_length,
        with_answers=False,
        max_new_tokens=settings.task.max_new_tokens,
    ).encoded
    found = predict(
        AdaptedModel(backbone, settings.method),
        settings.task,
        examples,
        encoded,
        settings.evaluation,
        continued=partial(continuation_ids, backbone.tokenizer),
    )
    metric = settings.task.main_metric
    return found.scores[metric], found.scores.get(f"likelihood_{metric}")


def scores_of(arguments: Sequence[str], metric: str) -> list[float]:
    """Run what is due and return the main metric of every seed."""
    records = grid.run(settings_of(arguments))
    failed = [record["error"] for record in records if record["status"] != "finished"]
    if failed:
        raise SystemExit(f"a run failed: {failed[0]}")
    return [record["metrics"]["test"][metric] for record in records]


def row_of(task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return one task's line: majority, frozen, and every method's scores."""
    shared = [
        f"task={task}",
        f"suite={OTHER_SUITE if task == 'alpaca' else SUITE}",
        f"results_dir={options.results}",
        f"output_dir={options.outputs}",
        f"seeds={list(range(options.seeds))}".replace(" ", ""),
    ]
    settings = settings_of(["method=lora", *shared])
    splits = load_splits(settings.task, settings.data)
    metric = settings.task.main_metric
    row: dict[str, Any] = {"task": task, "metric": metric, "majority": majority(settings, splits)}
    if settings.task.is_closed:
        settings = settings_of(["method=lora", "evaluation=both", *shared])
    row["frozen"], row["ranked"] = frozen(settings, splits)
    for method in METHODS:
        row[method] = scores_of([f"method={method}", *shared], metric)
        print(task, method, [round(score, 1) for score in row[method]], flush=True)
    return row


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the Markdown lines of the table, and what follows from it."""
    head = ["task", "metric", "majority", "frozen", "frozen, ranked", *METHODS]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [row["task"], row["metric"], f"{row['majority']:.1f}", f"{row['frozen']:.1f}"]
        cells.append("–" if row["ranked"] is None else f"{row['ranked']:.1f}")
        for method in METHODS:
            scores = row[method]
            spread = f"{min(scores):.1f}–{max(scores):.1f}"
            cells.append(f"{statistics.median(scores):.1f} ({spread})")
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", *verdicts(rows)]


def verdicts(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Say in words which of the wanted properties hold."""
    median = {
        (row["task"], method): statistics.median(row[method]) for row in rows for method in METHODS
    }
    tasks = [row["task"] for row in rows]
    gains = [
        t
        for t, row in zip(tasks, rows, strict=True)
        if median[t, "full_ft"] >= max(row["majority"], row["frozen"]) + 15
    ]
    high = [t for t in tasks if median[t, "full_ft"] > 90]
    solved = [t for t in tasks if all(median[t, method] >= 99 for method in METHODS)]
    near = [
        row["task"]
        for row in rows
        if abs(row["frozen"] - row["majority"]) <= 5 or row["frozen"] <= row["majority"]
    ]
    apart = [t for t, row in zip(tasks, rows, strict=True) if _is_apart(row)]

    def told(names: Sequence[str]) -> str:
        return f"{len(names)} of {len(tasks)} ({', '.join(names) or 'none'})"

    return [
        f"- Frozen backbone at most five points above the majority answer: {told(near)}.",
        f"- Full fine-tuning at least 15 points above both: {told(gains)}.",
        f"- Full fine-tuning above 90: {told(high)}.",
        f"- Every method at 99 or more: {told(solved)}.",
        f"- Medians of two methods further apart than any method's own seeds: {told(apart)}.",
    ]


def _is_apart(row: dict[str, Any]) -> bool:
    medians = [statistics.median(row[method]) for method in METHODS]
    widest = max(max(row[method]) - min(row[method]) for method in METHODS)
    return bool(max(medians) - min(medians) > widest)


def main() -> None:
    """Run what is due and put the table into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--results", default="results")
    parser.add_argument("--outputs", default="outputs")
    parser.add_argument("--out", type=Path, default=Path("docs/micro.md"))
    options = parser.parse_args()
    rows = [row_of(task, options) for task in options.tasks]
    lines = table(rows)
    print("\n".join(lines))
    page = options.out.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    after = rest.split(END)[1]
    content = "\n".join([f"{before}{BEGIN}", "", *lines, "", f"{END}{after}"])
    options.out.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
