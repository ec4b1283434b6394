"""What the model sees of a task: splits, one example, token lengths, effects of truncation."""

from collections.abc import Sequence
from typing import Any

from pedro_bench.data.encoding import encode
from pedro_bench.data.splits import SPLIT_NAMES, load_splits
from pedro_bench.protocols.data import DataSource
from pedro_bench.protocols.task import Example, Task

SHOWN_ROWS = 5
"""Rows listed of those that truncation would touch."""


def inspect_task(
    task: Task, source: DataSource, tokenizer: Any | None, max_length: int
) -> dict[str, Any]:
    """Describe a task as a model would see it.

    Args:
        task: The task.
        source: Where its rows come from.
        tokenizer: Tokenizer of a backbone, or None to leave the token counts out.
        max_length: Most tokens of prompt and answer together.

    Returns:
        `splits` (rows and fingerprint of each), `example` (the first train example), `tokens`
        (for each split, before any cut: lengths of prompts and answers, a histogram of both
        together; examples that truncation would touch with the first of their rows, the tokens it
        would cut, and the answers it would lose or cut short, and `misread`, as in `Encoding`; null without a
        tokenizer), `duplicates_removed` and
        `notes`.

    Raises:
        DataError: If the rows are missing or malformed, or one cannot fit into `max_length`.
    """
    splits = load_splits(task, source)
    first = splits.train.examples[0]
    return {
        "task": task.name,
        "data": source.name,
        "splits": {
            name: {"rows": splits[name].rows, "fingerprint": splits[name].fingerprint}
            for name in SPLIT_NAMES
        },
        "official_rows": {"train": task.official_rows[0], "validation": task.official_rows[1]},
        "example": {"prompt": first.prompt, "answer": first.answer, "golds": list(first.golds)},
        "tokens": None
        if tokenizer is None
        else {
            name: _token_report(
                tokenizer,
                splits[name].examples,
                max_length,
                max_new_tokens=task.max_new_tokens if name == "test" else 0,
            )
            for name in SPLIT_NAMES
        },
        "max_length": max_length,
        "duplicates_removed": splits.duplicates_removed,
        "notes": list(splits.notes),
    }


def _token_report(
    tokenizer: Any, examples: Sequence[Example], max_length: int, *, max_new_tokens: int
) -> dict[str, Any]:
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
    answers = [len(example.answer_ids) for example in encoding.encoded]
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
