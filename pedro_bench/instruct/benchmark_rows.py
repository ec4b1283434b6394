"""Rows of MMLU and BBH from local files, in the forms of the official releases, or from the Hub.

    <root>/mmlu/dev.jsonl, test.jsonl           columns subject, question, choices, label (or answer)
    <root>/mmlu/dev/<subject>_dev.csv, test/…   the original release: question, A, B, C, D, letter
    <root>/bbh/<task>.json                      {"examples": [{"input": …, "target": …}, …]}

JSON and Parquet files with the same columns are read like JSONL. A split is one file or the folder of the
original release. The Hub's rows come at a pinned revision. Every row is checked before a model is loaded.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pedro_bench import checks
from pedro_bench.data.formats import read_rows
from pedro_bench.data.hub import PinnedDataset
from pedro_bench.errors import DataError, PedroBenchError, near_folder, reason
from pedro_bench.instruct.request import HUB
from pedro_bench.protocols.task import Located

SHOTS = {"mmlu": 5, "bbh": 3}
"""Examples in front of each question; BBH's are part of the harness's task files."""

Rows = dict[str, dict[str, list[dict[str, Any]]]]
"""Task -> split (`test`, and `dev` where examples come from the data) -> rows."""

_LETTERS = "ABCD"
_TABLES = (".jsonl", ".json", ".parquet")


def data_files(root: str, suite: str) -> list[Path]:
    """Return the suite's files in order of their names.

    Raises:
        DataError: If the folder is absent or holds none, or two of them are the same split.
    """
    folder = suite_folder(root, suite)
    if suite == "bbh":
        found = sorted(folder.glob("*.json"))
    else:
        found = sorted(path for split in ("dev", "test") for path in _split_files(folder, split))
    if not found:
        expected = (
            "<task>.json" if suite == "bbh" else "dev.jsonl and test.jsonl, or dev/ and test/"
        )
        raise DataError(f"{folder} must hold {expected}, got none of them: fetch the files.")
    return found


def _split_files(folder: Path, split: str) -> list[Path]:
    """Return the table of a split, or the original release's files of it, one a subject.

    Raises:
        DataError: If there are two tables, or a table beside the original files.
    """
    tables = split_tables(folder, split)
    original = sorted(folder.glob(f"{split}/*_{split}.csv"))
    names = [path.name for path in tables] + ([f"{split}/"] if original else [])
    if len(names) > 1:
        raise DataError(
            f"{folder} must hold one {split} file or the folder {split}/, got {', '.join(names)}: "
            "move away all but one."
        )
    return [*tables, *original]


def split_tables(folder: Path, split: str) -> list[Path]:
    """Return the JSONL, JSON and Parquet files of a split."""
    return sorted(path for path in folder.glob(f"{split}.*") if path.suffix in _TABLES)


def suite_folder(root: str, suite: str) -> Path:
    """Return the folder of a suite's files.

    Raises:
        DataError: If it is absent.
    """
    place = Path(root).expanduser()
    folder = place / suite
    if not folder.is_dir():
        found = place.iterdir() if place.is_dir() else ()
        names = [path.name for path in found if path.is_dir()]
        raise DataError(
            f"data.root must hold a folder {suite!r} with the suite's files, got none in "
            f"{root!r}.{near_folder(suite, names)}"
        )
    return folder


def local_rows(root: str, suite: str) -> Rows:
    """Read and check all rows of MMLU or BBH.

    Raises:
        DataError: If a file cannot be read or a row is malformed; with file, line and field.
    """
    files = data_files(root, suite)
    return _bbh(files) if suite == "bbh" else _mmlu(files)


def check_tasks(rows: Mapping[str, Any], wanted: Sequence[str], shots: int) -> None:
    """Require rows of every wanted task, and enough examples to show before a question.

    Raises:
        DataError: If a task is absent or has too few examples.
    """
    absent = [name for name in wanted if not rows.get(name, {}).get("test")]
    if absent:
        raise DataError(
            f"the data must hold test rows of all {len(wanted)} tasks, got none of {absent[0]!r} "
            f"({len(absent)} absent): add its file, or choose tasks with tasks=[…]."
        )
    for name in wanted:
        found = len(rows[name].get("dev", ()))
        if found < shots:
            raise DataError(
                f"the data must hold {shots} dev rows of task {name!r} to show before each "
                f"question, got {found}."
            )


def check_mmlu_row(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return question, choices and the answer's position of an MMLU row.

    Raises:
        DataError: If a field is absent or malformed.
    """
    question, choices = row.get("question"), row.get("choices")
    answer = row.get("answer", row.get("label"))
    if not isinstance(question, str) or not question.strip():
        raise DataError(f"{place}: field 'question' must be a text, got {question!r}.")
    if (
        not isinstance(choices, list)
        or len(choices) != len(_LETTERS)
        or not all(isinstance(choice, str) for choice in choices)
    ):
        raise DataError(f"{place}: field 'choices' must be four texts, got {choices!r}.")
    if isinstance(answer, str) and answer.strip() in tuple(_LETTERS):
        answer = _LETTERS.index(answer.strip())
    if type(answer) is not int or not 0 <= answer < len(_LETTERS):
        raise DataError(
            f"{place}: field 'answer' must be a letter from A to D or a number from 0 to 3, got "
            f"{answer!r}."
        )
    return {"question": question, "choices": list(choices), "answer": answer}


def check_bbh_row(row: Any, place: str) -> dict[str, str]:
    """Return input and target of a BBH row.

    Raises:
        DataError: If a field is absent or malformed.
    """
    if not isinstance(row, Mapping):
        raise DataError(f"{place} must be an object with input and target, got {row!r:.60}.")
    for field in ("input", "target"):
        if not isinstance(row.get(field), str) or not row[field].strip():
            raise DataError(f"{place}: field {field!r} must be a text, got {row.get(field)!r}.")
        checks.encodable_text(f"{place}: field {field!r}", row[field], DataError)
    return {"input": row["input"], "target": row["target"]}


def _mmlu(files: Sequence[Path]) -> Rows:
    found: Rows = {}
    for path in files:
        if path.suffix == ".csv":
            split = path.parent.name
            subject = path.stem.removesuffix(f"_{split}")
            rows = [check_mmlu_row(row, place) for row, place in _csv_rows(path)]
            found.setdefault(subject, {}).setdefault(split, []).extend(rows)
            continue
        for row, place in read_rows(path):
            name = row.get("subject")
            if not isinstance(name, str) or not name:
                raise DataError(f"{place}: field 'subject' must be a text, got {name!r}.")
            part = found.setdefault(name, {}).setdefault(path.stem, [])
            part.append(check_mmlu_row(row, place))
    return found


def _csv_rows(path: Path) -> Iterator[Located]:
    """Yield the rows of an original file: no header, six columns."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            for number, cells in enumerate(csv.reader(file, strict=True), start=1):
                place = f"{path}:{number}"
                if len(cells) != 2 + len(_LETTERS):
                    raise DataError(
                        f"{place} must have six columns (question, A, B, C, D, answer), got "
                        f"{len(cells)}."
                    )
                question, *choices, answer = cells
                yield Located({"question": question, "choices": choices, "answer": answer}, place)
    except PedroBenchError:
        raise
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} must be a CSV file in UTF-8, got {reason(error)}.") from None


def _bbh(files: Sequence[Path]) -> Rows:
    found: Rows = {}
    for path in files:
        try:
            document = json.loads(path.read_bytes().decode("utf-8-sig"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{path} must be one JSON document in UTF-8, got {reason(error)}."
            ) from None
        examples = document.get("examples") if isinstance(document, Mapping) else None
        if not isinstance(examples, list) or not examples:
            raise DataError(f"{path}: field 'examples' must be a list of rows, at least one.")
        found[path.stem] = {
            "test": [
                check_bbh_row(row, f"{path} row {number}")
                for number, row in enumerate(examples, start=1)
            ]
        }
    return found


def hub_rows(suite: str, revision: str, tasks: Sequence[str]) -> Rows:
    """Load the rows of MMLU's or BBH's tasks."""
    found: Rows = {}
    splits = ("dev", "test") if suite == "mmlu" else ("test",)
    check = check_mmlu_row if suite == "mmlu" else check_bbh_row
    for task, loaded in zip(tasks, dataset(suite, revision).load(tasks), strict=True):
        found[task] = {
            split: [
                check(row, f"{HUB[suite][0]} ({task}) {split} row {number}")
                for number, row in enumerate(loaded.get(split, ()), start=1)
            ]
            for split in splits
        }
    return found


def dataset(suite: str, revision: str) -> PinnedDataset:
    """Return a suite's data set on the Hub at a revision."""
    return PinnedDataset(HUB[suite][0], revision, revision_key="data.revision", config_key="tasks")
