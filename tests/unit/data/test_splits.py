import random
from dataclasses import replace

import pytest

from pedro_bench.data.splits import (
    check_disjoint,
    choose_groups,
    make_splits,
    with_fewer_test_rows,
)
from pedro_bench.errors import DataError
from pedro_bench.protocols.task import Located


def rows(*texts, start=0):
    return [
        Located({"sentence": text, "label": number % 2}, f"file:{number}")
        for number, text in enumerate(texts, start=start + 1)
    ]


def numbered(name, count):
    return rows(*(f"{name} {number}" for number in range(count)))


def prompts(split):
    lines = [example.prompt.split("\n")[0].removeprefix("Review: ") for example in split.examples]
    return [" ".join(line.split()).casefold() for line in lines]


def test_halves(make_task):
    raw = {"train": numbered("t", 10), "validation": numbered("v", 9)}
    splits = make_splits(make_task("sst2", split_rule="halves"), raw, holdout=None)
    assert [splits[name].rows for name in ("train", "dev", "test")] == [10, 4, 5]
    assert sorted(prompts(splits.dev) + prompts(splits.test)) == [f"v {n}" for n in range(9)]
    assert splits.notes == ()


def test_holdout_takes_dev_from_train_and_keeps_official_order(make_task):
    raw = {"train": numbered("t", 100), "validation": numbered("v", 5)}
    splits = make_splits(make_task("sst2", dev_rows=20), raw, holdout=None)
    assert [splits[name].rows for name in ("train", "dev", "test")] == [80, 20, 5]
    numbers = [int(identity.split()[1]) for identity in prompts(splits.train)]
    assert numbers == sorted(numbers)
    assert prompts(splits.test) == [f"v {n}" for n in range(5)]


def test_division_depends_on_the_fixed_seed_not_on_the_order_of_the_file(make_task, monkeypatch):
    task = make_task("sst2", dev_rows=20)
    train, validation = numbered("t", 100), numbered("v", 5)
    first = make_splits(task, {"train": train, "validation": validation}, holdout=None)
    shuffled = random.Random(1).sample(train, len(train))
    again = make_splits(task, {"train": shuffled, "validation": validation}, holdout=None)
    assert set(prompts(first.dev)) == set(prompts(again.dev))
    monkeypatch.setattr("pedro_bench.data.splits.SPLIT_SEED", 1)
    other = make_splits(task, {"train": train, "validation": validation}, holdout=None)
    assert set(prompts(first.dev)) != set(prompts(other.dev))


def test_small_train_gives_a_quarter_and_says_so(make_task):
    raw = {"train": numbered("t", 40), "validation": numbered("v", 5)}
    splits = make_splits(make_task("sst2"), raw, holdout=None)
    assert [splits[name].rows for name in ("train", "dev", "test")] == [30, 10, 5]
    assert splits.notes == (
        "dev has 10 rows, a quarter of the 40 usable train rows, instead of 1000.",
    )


@pytest.mark.parametrize(
    ("official", "expected"),
    [
        ((67_349, 872), [38, 10, 30]),  # sst2: the code divides it otherwise than the paper
        ((10_000, 9), [38, 10, 30]),
        ((9_999, 9), [48, 15, 15]),
        ((2_490, 277), [48, 15, 15]),
    ],
)
def test_by_size_takes_dev_from_train_on_large_tasks_alone(make_task, official, expected):
    shared = [f"v {n}" for n in range(4)]  # train rows that stand in validation as well
    raw = {"train": rows(*(f"t {n}" for n in range(48)), *shared), "validation": numbered("v", 30)}
    task = make_task("sst2", split_rule="by_size", dev_rows=10, official_rows=official)
    splits = make_splits(task, raw, holdout=None)
    assert [splits[name].rows for name in ("train", "dev", "test")] == expected
    assert splits.duplicates_removed == 4
    parts = [set(prompts(splits[name])) for name in ("train", "dev", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 78


def test_given(make_task):
    raw = {"train": numbered("t", 6), "dev": numbered("d", 2), "test": numbered("e", 3)}
    splits = make_splits(make_task("sst2"), raw, holdout=None)
    assert [splits[name].rows for name in ("train", "dev", "test")] == [6, 2, 3]


def test_duplicates_stay_on_one_side_under_halves(make_task):
    texts = [f"v {number // 3}" if number < 60 else f"V  {number}" for number in range(101)]
    raw = {"train": numbered("t", 4), "validation": rows(*texts)}
    splits = make_splits(make_task("sst2", split_rule="halves"), raw, holdout=None)
    assert [splits.dev.rows, splits.test.rows] == [50, 51]
    assert not set(prompts(splits.dev)) & set(prompts(splits.test))


def test_halves_are_as_equal_as_duplicates_allow(make_task):
    texts = ["a"] * 3 + ["b"] * 3 + ["c"] * 2 + ["d"] * 2 + ["e"] * 2
    raw = {"train": numbered("t", 4), "validation": rows(*texts)}
    splits = make_splits(make_task("sst2", split_rule="halves"), raw, holdout=None)
    assert [splits.dev.rows, splits.test.rows] == [6, 6]


def test_train_rows_with_a_duplicate_in_a_later_split_are_left_out_and_counted(make_task):
    train = rows(*(f"t {n}" for n in range(20)), "V 1", "v  1", "v 2")
    raw = {"train": train, "validation": numbered("v", 4)}
    splits = make_splits(make_task("sst2", dev_rows=4), raw, holdout=None)
    assert [splits[name].rows for name in ("train", "dev", "test")] == [16, 4, 4]
    assert splits.duplicates_removed == 3
    assert splits.notes == (
        "3 rows were left out because their duplicate stands in a later split.",
    )


def test_duplicates_within_train_go_to_dev_together(make_task):
    texts = [f"t {number // 2}" for number in range(40)]
    raw = {"train": rows(*texts), "validation": numbered("v", 4)}
    splits = make_splits(make_task("sst2", dev_rows=7), raw, holdout=None)
    assert [splits.train.rows, splits.dev.rows] == [34, 6]
    assert splits.duplicates_removed == 0


def test_duplicates_of_given_splits_are_left_out_of_the_earlier_one(make_task):
    raw = {"train": rows("a", "b", "c"), "dev": rows("b", "d"), "test": rows("d", "e")}
    splits = make_splits(make_task("sst2"), raw, holdout=None)
    assert [prompts(splits[name]) for name in ("train", "dev", "test")] == [
        ["a", "c"],
        ["b"],
        ["d", "e"],
    ]
    assert splits.duplicates_removed == 2


@pytest.mark.parametrize(("rule", "expected"), [("halves", [80, 10, 10]), ("holdout", [75, 5, 20])])
def test_holdout_share_stands_in_for_absent_validation(make_task, rule, expected):
    task = make_task("sst2", split_rule=rule, dev_rows=5)
    splits = make_splits(task, {"train": numbered("t", 100)}, holdout=0.2)
    assert [splits[name].rows for name in ("train", "dev", "test")] == expected
    assert splits.notes[0] == "20 train rows stand in for the absent validation split."


@pytest.mark.parametrize(
    ("rows_in", "holdout", "expected"),
    [(100, None, [90, 5, 5]), (12, None, [7, 2, 3]), (100, 0.2, [75, 5, 20])],
)
def test_a_release_of_train_rows_alone_gives_dev_and_test(make_task, rows_in, holdout, expected):
    task = make_task("sst2", split_rule="train_only", dev_rows=5)
    splits = make_splits(task, {"train": numbered("t", rows_in)}, holdout=holdout)
    assert [splits[name].rows for name in ("train", "dev", "test")] == expected
    told = f"{expected[2]} train rows stand in for the absent validation split."
    assert splits.notes[0] == told


def test_unneeded_holdout_is_noted(make_task):
    raw = {"train": numbered("t", 8), "validation": numbered("v", 4)}
    splits = make_splits(make_task("sst2", split_rule="halves"), raw, holdout=0.2)
    assert splits.notes == ("data.holdout was not needed, since there is a validation split.",)


@pytest.mark.parametrize(
    ("raw", "rule", "message"),
    [
        (
            {"train": numbered("t", 4)},
            "halves",
            "must have the splits train, validation, got train",
        ),
        ({"validation": numbered("v", 4)}, "holdout", "must have the splits train.*got validation"),
        (
            {"train": numbered("t", 4), "validation": numbered("v", 4)},
            "given",
            "splits train, validation and test, got train, validation",
        ),
        (
            {"train": numbered("t", 4), "validation": numbered("v", 1)},
            "halves",
            "split 'dev' of task 'sst2' must have at least one row, got none",
        ),
        (
            {"train": rows("a"), "dev": rows("b"), "test": []},
            "given",
            "split 'test' of task 'sst2' must have at least one row, got none",
        ),
    ],
)
def test_missing_splits_and_rows(make_task, raw, rule, message):
    with pytest.raises(DataError, match=message):
        make_splits(make_task("sst2", split_rule=rule), raw, holdout=None)


def test_a_malformed_row_is_named_with_its_place(make_task):
    raw = {"train": numbered("t", 4), "validation": [Located({"sentence": "x"}, "f.jsonl:9")]}
    with pytest.raises(
        DataError, match=r"^f.jsonl:9: field 'label' must be in every row, got none"
    ):
        make_splits(make_task("sst2"), raw, holdout=None)


def test_the_proof_finds_a_planted_duplicate(make_task):
    raw = {"train": numbered("t", 6), "dev": numbered("d", 2), "test": numbered("e", 3)}
    splits = make_splits(make_task("sst2"), raw, holdout=None)
    planted = replace(splits.test, examples=(*splits.test.examples, splits.train.examples[4]))
    message = (
        "must stand in one split only, got row 4 of train again as row 3 of test: 'Review: t 4"
    )
    with pytest.raises(DataError, match=message):
        check_disjoint(replace(splits, test=planted))


def test_fingerprint_follows_prompts_and_golds(make_task):
    task = make_task("sst2")
    raw = {"train": numbered("t", 6), "dev": numbered("d", 2), "test": numbered("e", 3)}
    first = make_splits(task, raw, holdout=None)
    turned = {**raw, "test": rows(*(f"e {n}" for n in range(3)), start=1)}  # other labels
    second = make_splits(task, turned, holdout=None)
    assert first.train.fingerprint == second.train.fingerprint
    assert first.test.fingerprint != second.test.fingerprint


def test_unknown_split_name(make_task):
    raw = {"train": numbered("t", 6), "dev": numbered("d", 2), "test": numbered("e", 3)}
    splits = make_splits(make_task("sst2"), raw, holdout=None)
    with pytest.raises(DataError, match=r"split must be one of train, dev, test, got 'validation'"):
        splits["validation"]


def test_fewer_test_rows_are_drawn_once_and_told(make_task):
    raw = {"train": numbered("t", 100), "validation": numbered("v", 50)}
    task = make_task("sst2", dev_rows=20)
    splits = make_splits(task, raw, holdout=None)
    assert with_fewer_test_rows(splits, task, None) is splits
    assert with_fewer_test_rows(splits, task, 50) is splits
    few = with_fewer_test_rows(splits, task, 10)
    assert few.test.rows == 10
    assert few == with_fewer_test_rows(splits, task, 10)
    assert few.train == splits.train
    assert few.dev == splits.dev
    assert few.test.fingerprint != splits.test.fingerprint
    kept = [splits.test.examples.index(example) for example in few.test.examples]
    assert kept == sorted(kept) != list(range(10))
    assert few.notes[-1] == "10 of 50 test rows are answered, the same ones by every run."


@pytest.mark.parametrize(
    ("sizes", "target", "total"),
    [
        ([1, 1, 1, 1], 2, 2),
        ([3, 3, 2, 2, 2], 6, 6),
        ([2, 2, 2], 3, 2),
        ([5], 3, 0),
        ([4, 3, 3], 6, 6),  # taking the first that fits would stop at 4
        ([1, 2], 0, 0),
    ],
)
def test_chosen_groups_come_as_near_as_can_be(sizes, target, total):
    chosen = choose_groups(sizes, target)
    assert sum(sizes[position] for position in chosen) == total
    assert len(set(chosen)) == len(chosen)


def test_early_groups_are_preferred():
    assert choose_groups([1, 1, 1, 1, 1], 3) == [0, 1, 2]
