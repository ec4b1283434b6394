"""Splits: how official rows become train, dev and test, the same everywhere and for every run.

Rules (after Mahabadi et al. 2021; which one holds is decided by the official sizes, in the task's
YAML):

    halves           the official validation rows are cut in half: dev and test
    holdout          `dev_rows` train rows become dev; the official validation rows are test
    by_size          halves under 10,000 official train rows, else holdout (RED's code for T5 on GLUE)
    from_validation  `dev_rows` of the official validation rows become dev, or half of them where
                     that is less; the others are test (the RED paper's rule for GLUE)
    train_only       the release has train rows alone: `dev_rows` of them stand in for the validation
                     rows, and then as under `holdout`
    given            the source brings all three

Rows with equal prompts are duplicates and never stand in two splits: duplicates among the rows to be divided
stay together, and a row whose duplicate stands in a later split (train < dev < test) is left out and
counted. Which rows go where is decided by a hash of each row's text and a fixed seed, so neither
the order of a file nor the run's seed matters. Within a split the official order is kept.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pedro_bench.errors import DataError
from pedro_bench.protocols.task import DataSource, Example, Located, Task
from pedro_bench.seeding import derive


def draw(
    examples: Sequence[Example], size: int, seed: int, purpose: str
) -> tuple[list[Example], list[Example]]:
    """Draw whole groups of duplicates, as near to `size` rows as they allow, never above; keep the order."""
    groups: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        groups[example.identity].append(index)
    order = sorted(groups, key=lambda identity: (derive(seed, purpose, identity), identity))
    drawn: set[int] = set()
    for position in choose_groups([len(groups[identity]) for identity in order], size):
        drawn.update(groups[order[position]])
    taken = [example for index, example in enumerate(examples) if index in drawn]
    left = [example for index, example in enumerate(examples) if index not in drawn]
    return taken, left


def choose_groups(sizes: Sequence[int], target: int) -> list[int]:
    """Choose groups, early ones first, whose sizes add up as near below `target` as can be."""
    chosen, total = [], 0
    for position, size in enumerate(sizes):
        if total + size <= target:
            chosen.append(position)
            total += size
    return chosen if total == target else _best_groups(sizes, target)


def _best_groups(sizes: Sequence[int], target: int) -> list[int]:
    """Solve the subset sum exactly; bit k of a number says whether the sum k can be reached."""
    limit = (1 << (target + 1)) - 1
    reachable = [1]
    for size in sizes:
        reachable.append((reachable[-1] | reachable[-1] << size) & limit)
    total = reachable[-1].bit_length() - 1
    chosen = []
    for position in range(len(sizes) - 1, -1, -1):
        if not reachable[position] >> total & 1:
            chosen.append(position)
            total -= sizes[position]
    return sorted(chosen)


def without_duplicates(
    examples: Sequence[Example], later: Sequence[Example]
) -> tuple[list[Example], int]:
    """Leave out the examples whose duplicate stands in a later split, and count them."""
    known = {example.identity for example in later}
    kept = [example for example in examples if example.identity not in known]
    return kept, len(examples) - len(kept)


VERSION = 1
"""Raised whenever the same rows are divided in another way; enters the key of a run."""

SPLIT_SEED = 2021
"""Seed of the division; fixed, so that all runs of a task share their splits."""

SPLIT_NAMES = ("train", "dev", "test")


@dataclass(frozen=True)
class Split:
    """Examples of one split in official order; `fingerprint` is a SHA-256 over all prompts and golds."""

    name: str
    examples: tuple[Example, ...]
    fingerprint: str

    @property
    def rows(self) -> int:
        """Number of examples."""
        return len(self.examples)


@dataclass(frozen=True)
class Splits:
    """The three splits of a task; `dev` decides when to stop and which checkpoint is best.

    Attributes:
        duplicates_removed: Rows left out because their duplicate stands in a later split.
        notes: Whatever departs from the plain rule, one sentence each.
    """

    train: Split
    dev: Split
    test: Split
    duplicates_removed: int = 0
    notes: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Split:
        """Return a split by its name."""
        if name not in SPLIT_NAMES:
            raise DataError(f"split must be one of train, dev, test, got {name!r}.")
        found: Split = getattr(self, name)
        return found


def load_splits(task: Task, source: DataSource) -> Splits:
    """Read a task's rows from a source and divide them.

    Raises:
        DataError: If rows are missing or malformed; the message names place and field.
    """
    return make_splits(task, source.read(task), holdout=source.holdout)


def make_splits(
    task: Task,
    raw: Mapping[str, Sequence[Located]],
    *,
    holdout: float | None,
) -> Splits:
    """Divide official rows into train, dev and test, proved disjoint.

    Args:
        task: Says how a row becomes an example, and which rule holds.
        raw: Official split name -> rows; all of train, dev and test are taken as given.
        holdout: Share of train that stands in for an absent validation split, or None; under
            `train_only` None means `dev_rows` of them, or a quarter where that is less.

    Raises:
        DataError: If a row is malformed, a split has no rows, or two splits share a row.
    """
    pools = {name: _examples(task, rows) for name, rows in raw.items()}
    notes: list[str] = []
    stands_in = holdout is not None or task.split_rule == "train_only"
    if stands_in and set(pools) == {"train"}:
        pools["train"], pools["validation"] = _stand_in(pools["train"], holdout, task)
        notes.append(
            f"{len(pools['validation'])} train rows stand in for the absent validation split."
        )
    elif holdout is not None:
        notes.append("data.holdout was not needed, since there is a validation split.")
    train, dev, test = _divide(task, pools, notes)
    dev, removed_dev = without_duplicates(dev, test)
    train, removed_train = without_duplicates(train, [*dev, *test])
    removed = removed_train + removed_dev
    if removed:
        notes.append(
            f"{removed} rows were left out because their duplicate stands in a later split."
        )
    splits = Splits(
        _split(task, "train", train),
        _split(task, "dev", dev),
        _split(task, "test", task.scored_examples(test)),
        removed,
        tuple(notes),
    )
    check_disjoint(splits)
    return splits


def with_fewer_test_rows(splits: Splits, task: Task, most: int | None) -> Splits:
    """Return the splits with at most so many test rows, drawn once for all runs of a task.

    Args:
        splits: The splits.
        task: Their task, which says which rows are scored together.
        most: Most rows of the test split; None: all.
    """
    examples = splits.test.examples
    if most is None or most >= len(examples):
        return splits
    drawn, _ = draw(examples, most, SPLIT_SEED, "test rows")
    note = f"{len(drawn)} of {len(examples)} test rows are answered, the same ones by every run."
    return replace(splits, test=_split(task, "test", drawn), notes=(*splits.notes, note))


def check_disjoint(splits: Splits) -> None:
    """Prove that no example stands in two splits.

    Raises:
        DataError: If one does; the message names both rows.
    """
    seen: dict[str, tuple[str, int]] = {}
    for name in SPLIT_NAMES:
        for number, example in enumerate(splits[name].examples):
            other, row = seen.setdefault(example.identity, (name, number))
            if other != name:
                raise DataError(
                    f"an example must stand in one split only, got row {row} of {other} again as "
                    f"row {number} of {name}: {example.prompt[:60]!r}."
                )


def _examples(task: Task, rows: Iterable[Located]) -> list[Example]:
    """Turn rows into examples; an error gets the row's place in front."""
    examples = []
    for row, place in rows:
        try:
            examples.append(task.example(row))
        except DataError as error:
            raise DataError(f"{place}: {error}") from None
    return examples


def _divide(
    task: Task, pools: Mapping[str, list[Example]], notes: list[str]
) -> tuple[list[Example], list[Example], list[Example]]:
    """Apply the task's rule; duplicates across splits are not yet dealt with."""
    if set(SPLIT_NAMES) <= set(pools):
        return pools["train"], pools["dev"], pools["test"]
    if task.split_rule == "given" and {"train", "validation", "test"} <= set(pools):
        return pools["train"], pools["validation"], pools["test"]
    if task.split_rule == "given" or not {"train", "validation"} <= set(pools):
        wanted = "train, validation and test" if task.split_rule == "given" else "train, validation"
        raise DataError(
            f"task {task.name!r} must have the splits {wanted}, got {', '.join(pools) or 'none'}: "
            "add what is missing, or give data.holdout=0.2 for an absent validation split."
        )
    train, validation = pools["train"], pools["validation"]
    if task.division in ("halves", "from_validation"):
        half = len(validation) // 2
        size = half if task.division == "halves" else min(task.dev_rows, half)
        dev, test = draw(validation, size, SPLIT_SEED, "halves")
        return train, dev, test
    known = {example.identity for example in validation}
    fresh = sum(example.identity not in known for example in train)
    size = min(task.dev_rows, fresh // 4)
    if size < task.dev_rows:
        notes.append(
            f"dev has {size} rows, a quarter of the {fresh} usable train rows, instead of "
            f"{task.dev_rows}."
        )
    shared = [example for example in train if example.identity in known]
    dev, rest = draw([e for e in train if e.identity not in known], size, SPLIT_SEED, "holdout")
    return [*rest, *shared], dev, validation


def _stand_in(
    train: list[Example], share: float | None, task: Task
) -> tuple[list[Example], list[Example]]:
    """Return what is left of train, and the rows that stand in for validation."""
    size = min(task.dev_rows, len(train) // 4) if share is None else round(share * len(train))
    taken, rest = draw(train, size, SPLIT_SEED, "stand-in")
    return rest, taken


def _split(task: Task, name: str, examples: Sequence[Example]) -> Split:
    if not examples:
        raise DataError(
            f"split {name!r} of task {task.name!r} must have at least one row, got none: give the "
            "task more rows."
        )
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps([example.prompt, *example.golds]).encode() + b"\n")
    return Split(name, tuple(examples), digest.hexdigest())
