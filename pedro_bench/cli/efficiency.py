"""`python -m pedro_bench.cli.efficiency backbone=llama2_7b backbone.random_weights=true`: Table 3.

Speed and memory of generation, method against method in one run; `none` is the bare backbone.

    methods=[none,lora,ia3,pedro]   what takes turns
    beams=[1,3]                     beams of each prompt
    tenants=[]                      [1,4,16,64]: also batches of so many tenants, one sequence each, and
                                    peft's mixed batches of LoRA
    decoding=[plain]                plain: steps of Transformers' loop; static: over a static cache;
                                    compiled: these compiled
    merged=false                    true: lora and adalora also merged into the weights
    repeats=5 warmup=1 prompts=10   how often, and how much each time; a warm-up at least
    lengths=paper                   prompts of prompt_tokens=278.6 and answers of new_tokens=32.5 in the mean
    lengths=task task=… data=…      prompts and answers of a test split
    seed=0                          of lengths, tokens and adapters
    suite=efficiency                where the records go; suite=table3 is where Table 3 is made from
    backbone=… output=text|json     as of `python -m pedro_bench`
    rerun=true                      measure anew what was measured already: same request, code and machine
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from pedro_bench import checks
from pedro_bench.cli.command import (
    DONE,
    check_folder,
    check_output,
    guarded,
    logs_to_stderr,
    print_json,
)
from pedro_bench.cli.hydra.compose import configuration_of, side_by_side
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.cli.options import check_option
from pedro_bench.efficiency.request import BARE, DEFAULTS, Request, check_merged, request_of
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import build_group, check_device, describe
from pedro_bench.protocols.task import DataSource, Task

_MEBIBYTE = 2**20
_WIDE = 140
"""Columns of the table where standard output is no terminal."""


def efficiency(arguments: Sequence[str]) -> int:
    """Measure and show; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, before anything heavy is imported or written.
    """
    own, others = split_extra(arguments, DEFAULTS)
    request = request_of(own)
    methods, config = _methods(request, others)
    check_merged(request, methods)
    check_output(config["output"])
    check_device(config["device"])
    results_dir = checks.path("results_dir", config["results_dir"])
    check_folder("results_dir", results_dir)
    backbone = build_group("backbone", config["backbone"])
    backbone.check_name()
    backbone.identity()  # what cannot be found is refused before torch is imported
    items, data = _workload(request, config)
    from pedro_bench.efficiency.compare import Comparison, compare  # imports torch

    comparison = Comparison(
        request,
        methods,
        backbone,
        items,
        data,
        config["device"],
        results_dir,
        config["rerun"],
    )
    with logs_to_stderr():
        found = compare(comparison, report=lambda line: print(line, file=sys.stderr, flush=True))
    if config["output"] == "json":
        print_json(found)
    else:
        _show(found)
    return DONE


def _methods(
    request: Request, others: Sequence[str]
) -> tuple[dict[str, Method | None], dict[str, Any]]:
    """Build the methods, in the order asked; settings such as `method.r=8` hold for all of them."""
    for argument in others:
        if argument.partition("=")[0] == "method":
            raise ConfigError(
                f"methods must name what is compared, got {argument!r}: add it there."
            )
    names = [name for name in request.methods if name != BARE]
    for name in names:
        check_option("method", name)
    if names:
        config, found = side_by_side("method", names, others)
    else:
        config, found = configuration_of(others), {}
    built = {name: build_group("method", one) for name, one in found.items()}
    return {name: built.get(name) for name in request.methods}, config


def _workload(
    request: Request, config: Mapping[str, Any]
) -> tuple[Callable[[LoadedBackbone], list[Any]] | None, dict[str, Any]]:
    """Return how to make the items of a task's test split, and what they are.

    The first is None where they are drawn.
    """
    if request.lengths == "paper":
        return None, {"name": "paper_lengths"}
    task: Task = build_group("task", config["task"])
    source: DataSource = build_group("data", config["data"])
    max_length = int(config["trainer"]["max_length"])

    def items(backbone: LoadedBackbone) -> list[Any]:
        from pedro_bench.efficiency.request import items_of

        return items_of(backbone, task, source, request, max_length)

    data = {
        "name": f"{source.name}_{task.name}",
        "task": describe(task),
        "fingerprint": source.fingerprint(task),
        "holdout": source.holdout,
        "max_length": max_length,
    }
    return items, data


def _show(found: Mapping[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    speed = found["bandwidth_bytes_per_second"] / 1e9
    title = f"{found['backbone']} on {found['device']}; a copy moves {speed:.1f} GB/s"
    console.print(title, markup=False, highlight=False)
    table = Table()
    for name in ("method", "decoding", "beams", "sequences", "tenants"):
        table.add_column(name)
    for name in ("tokens/s", "spread", "first token", "step", "of limit", "peak"):
        table.add_column(name, justify="right")
    for row in found["rows"]:
        table.add_row(
            row["method"] + _kind(row),
            row["decoding"],
            str(row["beams"]),
            str(row["sequences"]),
            str(row["tenants"]),
            f"{row['tokens_per_second']:.1f}",
            f"{row['slowest']:.1f}-{row['fastest']:.1f}",
            f"{1000 * row['first_token_seconds']:.1f} ms",
            f"{1000 * row['seconds_per_token']:.1f} ms",
            f"{100 * row['bandwidth_share']:.1f}%",
            f"{row['peak_bytes'] / _MEBIBYTE:.0f} MiB",
        )
    console.print(table)
    for note in found["notes"]:
        console.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)


def _kind(row: Mapping[str, Any]) -> str:
    if row["mixed"]:
        return " (mixed)"
    return " (merged)" if row["merged"] else ""


if __name__ == "__main__":
    sys.exit(guarded(efficiency, sys.argv[1:], __doc__))
