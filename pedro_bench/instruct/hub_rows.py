"""Rows of the suites from the Hub, at a pinned revision; checked like those of local files."""

from collections.abc import Sequence

from pedro_bench.data.hub import PinnedDataset
from pedro_bench.instruct.benchmark_rows import Rows, check_bbh_row, check_mmlu_row
from pedro_bench.instruct.questions import Question, questions_of
from pedro_bench.instruct.request import HUB
from pedro_bench.protocols.data import Located


def hub_rows(suite: str, revision: str, tasks: Sequence[str]) -> Rows:
    """Load the rows of MMLU's or BBH's tasks.

    Raises:
        DataError: If the data set is neither reachable nor cached at this revision, or a row is
            malformed.
    """
    found: Rows = {}
    splits = ("dev", "test") if suite == "mmlu" else ("test",)
    check = check_mmlu_row if suite == "mmlu" else check_bbh_row
    for task, loaded in zip(tasks, _dataset(suite, revision).load(tasks), strict=True):
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
    source = _dataset("mt_bench", revision)
    (loaded,) = source.load([None])
    return questions_of(
        Located(row, f"{source.hub_id} {split} row {number}")
        for split in loaded
        for number, row in enumerate(loaded[split], start=1)
    )


def _dataset(suite: str, revision: str) -> PinnedDataset:
    return PinnedDataset(HUB[suite][0], revision, revision_key="data.revision", config_key="tasks")
