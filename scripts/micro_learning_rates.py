"""Choose each method's learning rate for the embedded backbone, on dev data alone.

Every method is tried with the same few values on the same two tasks, one seed each. The two values with the
lowest geometric mean of best dev losses get two more seeds, because at rates near too high a seed may fall
to chance; the better of the two by the medians over three seeds is the one for conf/rates/micro.yaml.
Trials are ordinary records of the suite `micro_lr`, in a folder of their own, so that no table
counts them as results; those that have finished are not run again.

    python scripts/micro_learning_rates.py --methods pedro lora ia3 full_ft
"""

import argparse
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from pedro_bench import grid
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.options import options
from pedro_bench.data.encoding import encode
from pedro_bench.data.splits import load_splits

SUITE = "micro_lr"
VALUES = ("3e-4", "1e-3", "3e-3", "1e-2", "3e-2", "1e-1")
TASKS = ("rte", "copa")
NUM_FINALISTS = 2
FINAL_SEEDS = (0, 1, 2)
BEGIN, END = "<!-- table: scripts/micro_learning_rates.py -->", "<!-- end of rates -->"


def dev_losses(
    method: str, task: str, value: str, seeds: Sequence[int], arguments: argparse.Namespace
) -> list[float]:
    """Return the best dev loss of every seed (nats per answer token); infinite where it failed."""
    found = grid.run(
        settings_of(
            [
                f"method={method}",
                f"task={task}",
                f"method.lr={value}",
                f"suite={SUITE}",
                f"results_dir={arguments.results}",
                f"output_dir={arguments.outputs}",
                f"seeds={list(seeds)}".replace(" ", ""),
            ]
        )
    )
    for record in found:
        if record["status"] != "finished":
            print(f"{method} {task} {value} seed {record['seed']}: {record['error']}", flush=True)
    return [
        float(record["metrics"]["dev"]["loss"]) if record["status"] == "finished" else math.inf
        for record in found
    ]


def merit(losses: Mapping[str, Sequence[float]]) -> float:
    """Return the geometric mean over tasks of the median over seeds: tables show medians too."""
    return statistics.geometric_mean([statistics.median(losses[task]) for task in TASKS])


def untrained_loss(task: str) -> float:
    """Return the dev loss of the frozen backbone, which an untrained LoRA is."""
    from accelerate import Accelerator

    from pedro_bench.nn.adapted_model import AdaptedModel
    from pedro_bench.training.steps import Passes

    settings = settings_of(["method=lora", f"task={task}"])
    backbone = settings.backbone.load(device="cpu")
    examples = load_splits(settings.task, settings.data).dev.examples
    encoded = encode(
        backbone.tokenizer,
        examples,
        max_length=settings.trainer.max_length,
        with_answers=True,
        max_new_tokens=0,
    ).encoded
    adapted = AdaptedModel(backbone, settings.method)
    loss = Passes(adapted, Accelerator(cpu=True), "fp32", 64, 64).mean_loss(encoded)
    adapted.remove()
    return loss


def lines_of(method: str, arguments: argparse.Namespace) -> list[str]:
    """Try one method and return its rows of the table."""

    def trial(value: str, seeds: Sequence[int]) -> dict[str, list[float]]:
        return {task: dev_losses(method, task, value, seeds, arguments) for task in TASKS}

    losses = {value: trial(value, FINAL_SEEDS[:1]) for value in VALUES}
    finalists = sorted(VALUES, key=lambda value: merit(losses[value]))[:NUM_FINALISTS]
    losses |= {value: trial(value, FINAL_SEEDS) for value in finalists}
    best = min(finalists, key=lambda value: merit(losses[value]))
    rows = []
    for task in TASKS:
        cells = [" ".join(f"{loss:.3f}" for loss in losses[value][task]) for value in VALUES]
        rows.append(f"| {method} | {task} | " + " | ".join(cells) + f" | {best} |")
    print("\n".join(rows), flush=True)
    return rows


def main() -> None:
    """Try what is due, and write the table into the page where one is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=options("method"))
    parser.add_argument("--results", default="results/trials")
    parser.add_argument("--outputs", default="outputs")
    parser.add_argument("--out", type=Path, help="a page to put the table into")
    arguments = parser.parse_args()
    head = ["method", "task", *VALUES, "chosen"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for task in TASKS:
        lines.append(f"| untrained | {task} | {untrained_loss(task):.3f} |" + " |" * len(VALUES))
        print(lines[-1], flush=True)
    for method in arguments.methods:
        lines += lines_of(method, arguments)
    if arguments.out is not None:
        before, rest = arguments.out.read_text(encoding="utf-8").split(BEGIN)
        table = "\n".join([BEGIN, "", *lines, "", END])
        arguments.out.write_text(before + table + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
