"""Rows of the leaderboard's benchmarks, with the columns of their data sets on the Hub.

    <root>/<suite>/train.jsonl                    examples (not for truthfulqa, which shows none)
    <root>/<suite>/test.jsonl, validation.jsonl   the split that is measured (`Benchmark.split`)

JSON and Parquet files are read like JSONL. Every row is checked before a model is loaded.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pedro_bench import checks
from pedro_bench.data.formats import read_rows
from pedro_bench.data.hub import PinnedDataset
from pedro_bench.errors import DataError
from pedro_bench.instruct.benchmark_rows import split_tables, suite_folder
from pedro_bench.instruct.leaderboard import LEADERBOARD

Splits = dict[str, list[dict[str, Any]]]
"""Split -> rows."""

NUMBER = "#### "
"""What GSM8K writes before an answer's number."""


def leaderboard_files(root: str, suite: str) -> list[Path]:
    """Return the file of each split that is read.

    Raises:
        DataError: If one is absent, or there are two of a split.
    """
    folder = suite_folder(root, suite)
    found = []
    for split in LEADERBOARD[suite].splits:
        tables = split_tables(folder, split)
        if len(tables) != 1:
            names = ", ".join(path.name for path in tables) or "none"
            raise DataError(
                f"{folder} must hold one {split} file, {split}.jsonl, got {names}: fetch the data set's "
                "files, or give data=hub."
            )
        found += tables
    return found


def local_leaderboard(root: str, suite: str) -> Splits:
    """Read and check a benchmark's rows from files.

    Raises:
        DataError: If a file cannot be read or a row is malformed; with file, line and field.
    """
    return {
        path.stem: [check_row(suite, row, place) for row, place in read_rows(path)]
        for path in leaderboard_files(root, suite)
    }


def hub_leaderboard(suite: str, revision: str) -> Splits:
    """Load and check a benchmark's rows from the Hub at a commit.

    Raises:
        DataError: If the data set is neither reachable nor cached at this commit, or a row is malformed.
    """
    own = LEADERBOARD[suite]
    (loaded,) = PinnedDataset(own.hub_id, revision, revision_key="data.revision").load(
        [own.hub_config]
    )
    return {
        split: [
            check_row(suite, row, f"{own.hub_id} {split} row {number}")
            for number, row in enumerate(loaded.get(split, ()), start=1)
        ]
        for split in own.splits
    }


def check_counts(suite: str, splits: Splits) -> None:
    """Require rows to measure, and enough examples to show before each.

    Raises:
        DataError: If there are too few.
    """
    own = LEADERBOARD[suite]
    if not splits.get(own.split):
        raise DataError(f"the data of suite={suite} must hold {own.split} rows, got none.")
    found = len(splits.get("train", ()))
    if found < own.shots:
        raise DataError(
            f"the data of suite={suite} must hold {own.shots} train rows to show before each question, "
            f"got {found}."
        )


def check_row(suite: str, row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return the fields of a row that the harness's task reads.

    Raises:
        DataError: If a field is absent or malformed.
    """
    return _CHECKS[suite](row, place)


def target_of(suite: str, row: Mapping[str, Any]) -> Any:
    """Return the right answer of a checked row: its position, those of several, or GSM8K's number."""
    return _TARGETS[suite](row)


def _text(row: Mapping[str, Any], field: str, place: str, *, may_be_empty: bool = False) -> str:
    value = row.get(field)
    if not isinstance(value, str) or not (may_be_empty or value.strip()):
        raise DataError(f"{place}: field {field!r} must be a text, got {value!r:.60}.")
    checks.encodable_text(f"{place}: field {field!r}", value, DataError)
    return value


def _texts(holder: Any, field: str, place: str) -> list[str]:
    value = holder.get(field) if isinstance(holder, Mapping) else None
    if not isinstance(value, list) or len(value) < 2:
        raise DataError(f"{place}: field {field!r} must be texts, two at least, got {value!r:.60}.")
    for one in value:
        _text({field: one}, field, place)
    return list(value)


def _one_of(row: Mapping[str, Any], field: str, known: list[str], place: str) -> str:
    if row.get(field) not in known:
        raise DataError(
            f"{place}: field {field!r} must be one of {', '.join(known)}, got {row.get(field)!r:.60}."
        )
    return str(row[field])


def _arc(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    texts = _texts(row.get("choices"), "text", place)
    labels = _texts(row.get("choices"), "label", place)
    if len(labels) != len(texts):
        raise DataError(
            f"{place}: field 'choices' must have a label for each text, got {len(labels)} for {len(texts)}."
        )
    return {
        "question": _text(row, "question", place),
        "choices": {"text": texts, "label": labels},
        "answerKey": _one_of(row, "answerKey", labels, place),
    }


def _truthfulqa(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    found = row.get("mc2_targets")
    choices = _texts(found, "choices", place)
    labels = found.get("labels") if isinstance(found, Mapping) else None
    if not isinstance(labels, list) or len(labels) != len(choices) or {*labels} != {0, 1}:
        raise DataError(
            f"{place}: field 'labels' must be 1 for each true choice and 0 for each false one, with both "
            f"among them, got {labels!r:.60}."
        )
    question = _text(row, "question", place)
    return {"question": question, "mc2_targets": {"choices": choices, "labels": list(labels)}}


def _winogrande(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    sentence = _text(row, "sentence", place)
    if sentence.count("_") != 1:
        raise DataError(f"{place}: field 'sentence' must have one gap '_', got {sentence!r:.60}.")
    options = {name: _text(row, name, place) for name in ("option1", "option2")}
    return {"sentence": sentence, **options, "answer": _one_of(row, "answer", ["1", "2"], place)}


def _gsm8k(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    answer = _text(row, "answer", place)
    if NUMBER not in answer:
        raise DataError(
            f"{place}: field 'answer' must end with '#### <number>', got {answer!r:.60}."
        )
    return {"question": _text(row, "question", place), "answer": answer}


def _hellaswag(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    endings = _texts(row, "endings", place)
    return {
        "activity_label": _text(row, "activity_label", place),
        "ctx_a": _text(row, "ctx_a", place),
        "ctx_b": _text(row, "ctx_b", place, may_be_empty=True),
        "endings": endings,
        "label": _one_of(row, "label", [str(one) for one in range(len(endings))], place),
    }


_CHECKS: Mapping[str, Callable[[Mapping[str, Any], str], dict[str, Any]]] = {
    "arc": _arc,
    "truthfulqa": _truthfulqa,
    "winogrande": _winogrande,
    "gsm8k": _gsm8k,
    "hellaswag": _hellaswag,
}
_TARGETS: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
    "arc": lambda row: row["choices"]["label"].index(row["answerKey"]),
    "truthfulqa": lambda row: [n for n, true in enumerate(row["mc2_targets"]["labels"]) if true],
    "winogrande": lambda row: int(row["answer"]) - 1,
    "gsm8k": lambda row: row["answer"].rpartition(NUMBER)[2].strip(),
    "hellaswag": lambda row: int(row["label"]),
}
