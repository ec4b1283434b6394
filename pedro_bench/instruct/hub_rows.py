"""Rows of the suites from the Hub, at a pinned revision; checked like those of local files."""

from collections.abc import Sequence
from typing import Any

from pedro_bench.errors import DataError
from pedro_bench.instruct.benchmark_rows import Rows, check_bbh_row, check_mmlu_row
from pedro_bench.instruct.questions import Question, questions_of
from pedro_bench.instruct.request import HUB
from pedro_bench.protocols.data import Located


def hub_rows(suite: str, revision: str, tasks: Sequence[str]) -> Rows:
    """Load the rows of MMLU's or BBH's tasks.

    Raises:
        DataError: If the data set is neither reachable nor cached, or a row is malformed.
    """
    found: Rows = {}
    for task in tasks:
        splits = ("dev", "test") if suite == "mmlu" else ("test",)
        check = check_mmlu_row if suite == "mmlu" else check_bbh_row
        loaded = load_hub(suite, task, revision)
        found[task] = {
            split: [
                check(row, f"{HUB[suite][0]} ({task}) {split} row {number}")
                for number, row in enumerate(loaded.get(split, ()), start=1)
            ]
            for split in splits
        }
    return found


def hub_questions(revision: str) -> list[Question]:
    """Load the questions of MT-Bench.

    Raises:
        DataError: As `hub_rows`.
    """
    loaded = load_hub("mt_bench", None, revision)
    name = HUB["mt_bench"][0]
    return questions_of(
        Located(row, f"{name} {split} row {number}")
        for split in loaded
        for number, row in enumerate(loaded[split], start=1)
    )


def load_hub(suite: str, config: str | None, revision: str) -> Any:
    """Load a suite's data set; what goes wrong is told in one sentence with the remedy.

    Raises:
        DataError: If it is neither reachable nor cached.
    """
    from datasets import load_dataset

    hub_id = HUB[suite][0]
    try:
        return load_dataset(hub_id, config, revision=revision)
    except Exception as error:
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise DataError(
            f"{hub_id} ({config or 'default'}) at revision {revision} must be reachable or cached, "
            f"got {reason}: use data=files data.root=DIR, or a machine whose HF_HOME holds a copy."
        ) from error
