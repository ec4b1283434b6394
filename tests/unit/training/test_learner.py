"""Which parameters learn on which rows."""

from typing import Any

import pytest
import torch
from torch.nn import Parameter

from pedro_bench.errors import DataError, TrainingError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.training.learner import hold_out, levels


def rows(count: int) -> list[Encoded]:
    return [Encoded((1, 5), (6, 2), index) for index in range(count)]


@pytest.fixture
def groups() -> dict[str, list[Parameter]]:
    return {
        "weights": [Parameter(torch.zeros(2, 2)), Parameter(torch.zeros(2))],
        "architecture": [Parameter(torch.zeros(3))],
    }


def test_validation_gives_the_dev_rows_to_the_architecture(
    groups: dict[str, list[Parameter]],
) -> None:
    train, dev = rows(20), rows(3)
    architecture, weights = levels(groups, "validation", train, dev, seed=0)
    assert (architecture.name, weights.name) == ("architecture", "weights")
    assert (architecture.rows, weights.rows) == (dev, train)
    assert [len(level.parameters) for level in (architecture, weights)] == [1, 2]


@pytest.mark.parametrize(("bilevel", "size"), [("train_holdout", 3), ("train_half", 15)])
def test_a_part_is_taken_out_of_the_weights_rows(
    groups: dict[str, list[Parameter]], bilevel: str, size: int
) -> None:
    train, dev = rows(30), rows(3)
    architecture, weights = levels(groups, bilevel, train, dev, seed=0)
    held, kept = ({row.index for row in level.rows} for level in (architecture, weights))
    assert len(held) == size
    assert held.isdisjoint(kept)
    assert held | kept == set(range(30))


def test_none_trains_everything_on_train(groups: dict[str, list[Parameter]]) -> None:
    train = rows(4)
    (only,) = levels(groups, "none", train, rows(2), seed=0)
    assert (only.name, len(only.parameters), only.rows) == ("weights", 3, train)
    (only,) = levels({"weights": groups["weights"]}, "validation", train, rows(2), seed=0)
    assert len(only.parameters) == 2


def test_hold_out_depends_on_the_seed_alone() -> None:
    first, again, other = (
        [row.index for row in hold_out(rows(200), seed, "train_half")[1]] for seed in (0, 0, 1)
    )
    assert first == again
    assert first != other


def test_hold_out_reads_the_rows_where_they_are() -> None:
    """Packed rows are not unpacked, which would take many times their memory."""

    class Counted(list[Encoded]):
        num_read = 0

        def __getitem__(self, place: Any) -> Any:
            self.num_read += 1
            return super().__getitem__(place)

    source = Counted(rows(200))
    kept, held = hold_out(source, 0, "train_half")
    assert (len(kept), len(held), source.num_read) == (100, 100, 0)
    assert {row.index for row in kept} | {row.index for row in held} == set(range(200))
    assert [row.index for row in kept[3:5]] == [kept[3].index, kept[4].index]


def test_hold_out_needs_two_rows() -> None:
    with pytest.raises(DataError, match=r"train split must have at least 2 rows .*, got 1\."):
        hold_out(rows(1), seed=0, bilevel="train_half")


def test_wrong_groups_are_refused(groups: dict[str, list[Parameter]]) -> None:
    shared = groups["weights"][0]
    for wrong, message in (
        ({"heads": [shared]}, "must be named weights or architecture, got heads"),
        (
            {"architecture": [shared]},
            "must hold at least one parameter, got none: .*injection.add",
        ),
        ({"weights": [shared], "architecture": [shared]}, "once, got it twice"),
    ):
        with pytest.raises(TrainingError, match=message):
            levels(wrong, "none", rows(2), rows(2), seed=0)
