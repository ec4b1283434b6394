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
from pedro_bench.backbones.family import family_of
from pedro_bench.cli.command import DONE, check_output, guarded, logs_to_stderr, print_json
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.data.encoding import encode
from pedro_bench.data.splits import SPLIT_NAMES, load_splits, with_fewer_test_rows
from pedro_bench.data.text_pairs import encode_pairs
from pedro_bench.nn.adapted_model import head_of
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.task import DataSource, Example, Task

SHOWN_ROWS = 5
"""Rows listed of those that truncation would touch."""


def inspect_task(
    task: Task,
    source: DataSource,
    tokenizer: Any | None,
    max_length: int,
    head: Head | None = None,
    *,
    test_rows: int | None = None,
) -> dict[str, Any]:
    """Describe a task as a model would see it.

    Args:
        task: The task.
        source: Where its rows come from.
        tokenizer: Tokenizer of a backbone, or None to leave the token counts out.
        max_length: Most tokens of prompt and answer together.
        head: The head of an encoder, which reads the texts without a template and writes no answer.
        test_rows: Most rows of the test split, as `evaluation.test_rows`; None: all.

    Returns:
        `splits` (rows and fingerprint of each), `example` (the first train example; for a head its texts
        alone), `tokens` (for each split, before any cut: lengths of prompts and answers, a histogram of
        both together; examples that truncation would touch with the first of their rows, the tokens it
        would cut, and the answers it would lose or cut short, and `misread`, as in `Encoding`; null
        without a tokenizer), `duplicates_removed` and `notes`.

    Raises:
        DataError: If the rows are missing or malformed, or one cannot fit into `max_length`.
    """
    if tokenizer is not None:
        task = task.for_tokenizer(tokenizer)
    splits = with_fewer_test_rows(load_splits(task, source), task, test_rows)
    first = splits.train.examples[0]
    texts = [part.text for part in first.parts if not part.is_template]
    return {
        "task": task.name,
        "data": source.name,
        "splits": {
            name: {"rows": splits[name].rows, "fingerprint": splits[name].fingerprint}
            for name in SPLIT_NAMES
        },
        "official_rows": {"train": task.official_rows[0], "validation": task.official_rows[1]},
        "example": {
            "prompt": first.prompt if head is None else "\n".join(texts),
            "answer": first.answer,
            "golds": list(first.golds),
        },
        "tokens": None
        if tokenizer is None
        else {
            name: _token_report(
                tokenizer,
                splits[name].examples,
                max_length,
                head,
                max_new_tokens=task.max_new_tokens if name == "test" else 0,
            )
            for name in SPLIT_NAMES
        },
        "max_length": max_length,
        "duplicates_removed": splits.duplicates_removed,
        "notes": list(splits.notes),
    }


def _token_report(
    tokenizer: Any,
    examples: Sequence[Example],
    max_length: int,
    head: Head | None,
    *,
    max_new_tokens: int,
) -> dict[str, Any]:
    if head is not None:
        encoding = encode_pairs(tokenizer, examples, head, max_length=max_length)
    else:
        encoding = encode(
            tokenizer,
            examples,
            max_length=max_length,
            with_answers=True,
            max_new_tokens=max_new_tokens,
        )
    prompts = [
        encoding.uncut.get(row, len(example.prompt_ids))
        for row, example in enumerate(encoding.encoded)
    ]
    answers = [0 if head is not None else len(row.answer_ids) for row in encoding.encoded]
    return {
        "prompt": _summary(prompts),
        "answer": _summary(answers),
        "histogram": _histogram([sum(pair) for pair in zip(prompts, answers, strict=True)]),
        "truncated": encoding.truncated,
        "truncated_rows": sorted(encoding.uncut)[:SHOWN_ROWS],
        "tokens_cut": sum(
            length - len(encoding.encoded[row].prompt_ids) for row, length in encoding.uncut.items()
        ),
        "lost_answers": encoding.lost_answers,
        "cut_answers": encoding.cut_answers,
        "misread": encoding.misread,
    }


def _histogram(lengths: Sequence[int]) -> list[dict[str, int]]:
    """Count lengths in classes of at most 16, 32, 64 … tokens, each without the one before."""
    classes, least, most = [], 0, 16
    while least < max(lengths):
        rows = sum(least < length <= most for length in lengths)
        classes.append({"most": most, "rows": rows})
        least, most = most, 2 * most
    return classes


def _summary(lengths: Sequence[int]) -> dict[str, float]:
    """Summarise lengths; p95 is the smallest length that 95% of the examples do not exceed."""
    ordered = sorted(lengths)
    return {
        "mean": round(sum(ordered) / len(ordered), 1),
        "median": ordered[(len(ordered) - 1) // 2],
        "p95": ordered[-(-95 * len(ordered) // 100) - 1],
        "max": ordered[-1],
    }


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
        tokenizer, head, limit = None, None, settings.trainer.max_length
        if own["tokens"]:
            backbone, limit = settings.backbone, settings.max_tokens
            tokenizer = backbone.load_tokenizer()
            kind = family_of(backbone.shape().family).kind
            head = head_of(kind, backbone.name, settings.task)
        most = settings.evaluation.test_rows
        seen = inspect_task(settings.task, settings.data, tokenizer, limit, head, test_rows=most)
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
        if report[part]["max"]
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
