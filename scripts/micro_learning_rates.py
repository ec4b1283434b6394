"""Choose each method's learning rate for the embedded backbone, on dev data alone.

Every method is tried with the same few values on the same two tasks. The value with the lowest geometric
mean of the two best dev losses is the one for `micro_lr` in the method's YAML. Trials are ordinary
records of the suite `micro_lr`; those that have finished are not run again.

    python scripts/micro_learning_rates.py --methods pedro lora ia3 full_ft
"""

import argparse
import math
from pathlib import Path

from pedro_bench import experiment
from pedro_bench.cli.compose import settings_of
from pedro_bench.cli.options import options

SUITE = "micro_lr"
VALUES = ("3e-4", "1e-3", "3e-3", "1e-2", "3e-2")
TASKS = ("rte", "copa")
BEGIN, END = "<!-- table: scripts/micro_learning_rates.py -->", "<!-- end of rates -->"


def dev_loss(method: str, task: str, value: str, arguments: argparse.Namespace) -> float:
    """Return the best dev loss of one trial (nats per answer token); infinite if it failed."""
    [record] = experiment.run(
        settings_of(
            [
                f"method={method}",
                f"task={task}",
                f"method.lr={value}",
                f"suite={SUITE}",
                f"results_dir={arguments.results}",
                f"output_dir={arguments.outputs}",
                "seeds=[0]",
            ]
        )
    )
    if record["status"] != "finished":
        print(f"{method} {task} {value}: {record['error']}", flush=True)
        return math.inf
    return float(record["metrics"]["dev"]["loss"])


def lines_of(method: str, arguments: argparse.Namespace) -> list[str]:
    """Try one method and return its rows of the table."""
    losses = {
        value: [dev_loss(method, task, value, arguments) for task in TASKS] for value in VALUES
    }
    means = {value: math.sqrt(math.prod(found)) for value, found in losses.items()}
    best = min(means, key=means.__getitem__)
    rows = []
    for position, task in enumerate(TASKS):
        cells = [f"{losses[value][position]:.3f}" for value in VALUES]
        rows.append(f"| {method} | {task} | " + " | ".join(cells) + f" | {best} |")
    print("\n".join(rows), flush=True)
    return rows


def main() -> None:
    """Try what is due, and write the table into the page where one is given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", nargs="+", default=options("method"))
    parser.add_argument("--results", default="results")
    parser.add_argument("--outputs", default="outputs")
    parser.add_argument("--out", type=Path, help="a page to put the table into")
    arguments = parser.parse_args()
    head = ["method", "task", *VALUES, "chosen"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for method in arguments.methods:
        lines += lines_of(method, arguments)
    if arguments.out is not None:
        before, rest = arguments.out.read_text(encoding="utf-8").split(BEGIN)
        table = "\n".join([BEGIN, "", *lines, "", END])
        arguments.out.write_text(before + table + rest.split(END)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
