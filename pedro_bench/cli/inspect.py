"""`python -m pedro_bench.cli.inspect task=boolq data=micro`: what the model sees of a task.

Splits with their sizes and fingerprints, one example as prompt and answer, and lengths in tokens of
the backbone's tokenizer.

    task=… data=… backbone=…        as of `python -m pedro_bench`
    tokens=true                     false leaves the lengths out and loads no tokenizer
    output=text|json
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pedro_bench import checks
from pedro_bench.cli.command import DONE, check_output, guarded, logs_to_stderr, print_json
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.data.inspection import inspect_task

DEFAULTS = {"tokens": True, "output": "text"}
"""The command's own keys."""


def inspect(arguments: Sequence[str]) -> int:
    """Print what the model sees; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, or data or backbone cannot be found.
    """
    own, others = split_extra(arguments, DEFAULTS)
    check_output(own["output"])
    checks.flag("tokens", own["tokens"])
    settings = settings_of(others)
    with logs_to_stderr():
        tokenizer = settings.backbone.load_tokenizer() if own["tokens"] else None
        limit = settings.max_tokens if own["tokens"] else settings.trainer.max_length
        seen = inspect_task(settings.task, settings.data, tokenizer, limit)
    if own["output"] == "json":
        print_json(seen)
    else:
        _show(seen)
    return DONE


def _show(seen: Mapping[str, Any]) -> None:
    print(f"task {seen['task']}, data {seen['data']}\n")
    for name, split in seen["splits"].items():
        print(f"  {name:<6}{split['rows']:>8} rows  {split['fingerprint'][:12]}")
    print(f"\nprompt\n{_indented(seen['example']['prompt'])}")
    print(f"answer\n{_indented(seen['example']['answer'])}\n")
    for name, report in (seen["tokens"] or {}).items():
        _show_tokens(name, report, seen["max_length"])
    for note in seen["notes"]:
        print(f"note: {note}")


def _show_tokens(name: str, report: Mapping[str, Any], max_length: int) -> None:
    lengths = ", ".join(
        f"{part} mean {report[part]['mean']:g}, p95 {report[part]['p95']}, max {report[part]['max']}"
        for part in ("prompt", "answer")
    )
    print(f"  {name:<6}tokens: {lengths}")
    highest = max(each["rows"] for each in report["histogram"])
    for each in report["histogram"]:
        bar = "#" * -(-30 * each["rows"] // highest)
        print(f"    up to {each['most']:>6} {each['rows']:>8} rows  {bar}")
    if report["cut_answers"]:
        print(f"    {report['cut_answers']} answers are cut at their end to fit")
    if report["misread"]:
        print(f"    {report['misread']} rows hold control tokens that cannot be read as text")
    if report["truncated"]:
        rows = ", ".join(map(str, report["truncated_rows"]))
        print(
            f"    {report['truncated']} rows are longer than {max_length} tokens (the first: {rows});"
            f" {report['tokens_cut']} tokens are cut, {report['lost_answers']} answers lost"
        )
    elif not report["cut_answers"]:
        print(f"    nothing is longer than {max_length} tokens")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


if __name__ == "__main__":
    sys.exit(guarded(inspect, sys.argv[1:], __doc__))
