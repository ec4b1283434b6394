"""Which runs share a row, and what names it."""

import json

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.reporting.notes import notes
from tests.unit.analysis.runs import built, five, only, rows, run, seeds


def test_tables_rows_and_cells(tmp_path):
    five(tmp_path)
    five(tmp_path, task="sst2")
    five(tmp_path, "lora")
    run(tmp_path, suite="other")
    main, other = built(tmp_path)
    assert (main.name, other.name) == ("main--micro--micro", "other--micro--micro")
    lora, pedro = main.sections[0].lines
    assert (lora.method, lora.settings, lora.cells[1].status) == ("lora", "", "missing")
    assert (pedro.label, [one.column.task for one in pedro.cells]) == ("PEDRO", ["boolq", "sst2"])
    assert seeds(pedro.cells[0]) == [0, 1, 2, 3, 4]
    assert [table.suite for table in built(tmp_path, "other")] == ["other"]


@pytest.mark.parametrize("beside", ["lr_scheduler_type", "patience"])
def test_no_bound_stands_before_bounds(beside, tmp_path):
    """Whichever settings stand beside it in the alphabet."""
    for most in (7, None, 5):
        run(tmp_path, groups={"trainer": {"max_steps": most, beside: "constant"}})
    named = [f"trainer.max_steps={most}" for most in ("null", 5, 7)]
    assert [row.settings for row in rows(tmp_path)] == named


def test_settings_that_differ_make_rows_in_numeric_order(tmp_path):
    five(tmp_path, r=12)
    five(tmp_path, r=6)
    five(tmp_path, r=6, lr=0.01)
    made = rows(tmp_path)
    assert [row.settings for row in made] == [
        "r=6, trainer.lr=0.001",
        "r=6, trainer.lr=0.01",
        "r=12, trainer.lr=0.001",
    ]


def test_seeds_of_one_key_stay_one_row(tmp_path):
    # Settings that cannot move a number (such as how often to checkpoint) do not enter the key.
    run(tmp_path, seed=0, key="000000000000", lr=0.001)
    run(tmp_path, seed=1, key="000000000000", lr=0.002)
    (row,) = rows(tmp_path)
    assert seeds(row.cells["boolq"]) == [0, 1]


def test_a_damaged_record_stops_the_tables(tmp_path):
    path = run(tmp_path)
    path.write_text("{")
    with pytest.raises(RecordError, match=rf"record {path} must be JSON.*: remove the file, and"):
        built(tmp_path)


def test_a_suite_that_is_named_twice_is_read_once(tmp_path):
    five(tmp_path)
    (table,) = built(tmp_path, "main", "main")
    assert seeds(table.sections[0].lines[0].cells[0]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"method": {"alpha": 16}}, {"method": {"alpha": 16.0}}),
        ({"method": {"roles": None}}, {"method": {}}),
        ({"evaluation": {"batch_size": 32}}, {"evaluation": {"batch_size": 64}}),
        ({"trainer": {"checkpoint_every_steps": 5}}, {"trainer": {"gradient_checkpointing": True}}),
        ({"trainer": {"lr": 0.1}, "method": {"lr": 0.2}}, {"method": {"lr": 0.2}}),
    ],
)
def test_what_cannot_move_a_number_makes_no_row(tmp_path, one, other):
    five(tmp_path, groups=one)
    five(tmp_path, task="sst2", groups=other)
    (row,) = rows(tmp_path)
    assert (row.settings, list(row.cells)) == ("", ["boolq", "sst2"])


def test_the_learning_rate_in_force_makes_rows_where_it_differs_within_a_task(tmp_path):
    for task, rate in (("boolq", 0.002), ("sst2", 0.003)):
        run(tmp_path, task=task, groups={"method": {"lr": rate}})
    run(tmp_path, task="boolq", lr=0.001, groups={"method": {"lr": 0.003}})
    made = rows(tmp_path)
    found = [(row.settings, list(row.cells)) for row in made]
    assert found == [
        ("trainer.lr=0.002", ["boolq"]),
        ("trainer.lr=0.003", ["boolq", "sst2"]),
    ]


def test_settings_of_the_trainer_by_task_share_a_row_and_are_told(tmp_path):
    rates = {"boolq": (0.001, 10), "sst2": (0.004, 20), "squad": (0.001, 10)}
    for task, (rate, epochs) in rates.items():
        five(tmp_path, "red", task, lr=rate, groups={"trainer": {"num_epochs": epochs}})
        five(tmp_path, "lora", task, lr=0.001, groups={"trainer": {"num_epochs": 10}})
    lora, red = rows(tmp_path)
    assert (red.settings, sorted(red.cells)) == ("", ["boolq", "squad", "sst2"])
    assert (lora.settings, len(lora.cells)) == ("", 3)
    table = only(tmp_path)
    assert tuple(notes(table)) == (
        "Different trainer.num_epochs in one column: sst2 (10: lora; 20: red).",
        "trainer.lr by task: red (0.001: boolq, squad; 0.004: sst2).",
        "trainer.num_epochs by task: red (10: boolq, squad; 20: sst2).",
    )


def test_how_learning_rates_were_chosen_moves_no_row_and_is_told(tmp_path):
    tried = {"trials": 6, "lr": [3e-5, 0.01], "seeds": [0], "tasks": ["sst2"], "date": "2026-01-02"}
    five(tmp_path, "red", "boolq", groups={"trainer": {"rates": "small", "tried": tried}})
    five(tmp_path, "red", "sst2")
    five(tmp_path, "lora", "boolq")
    lora, red = rows(tmp_path)
    assert (lora.settings, red.settings, sorted(red.cells)) == ("", "", ["boolq", "sst2"])
    assert tuple(notes(only(tmp_path)))[-2:] == (
        "Learning rates chosen on dev data, 6 trials each from 3e-05 to 0.01 (seeds 0; tasks sst2; "
        "2026-01-02): red.",
        "Runs that name no search of their learning rate: lora, red.",
    )


def test_sizes_make_rows_although_each_task_has_another(tmp_path):
    five(tmp_path, task="boolq", r=6, lr=0.001)
    five(tmp_path, task="sst2", r=12, lr=0.002)
    made = rows(tmp_path)
    assert [(row.settings, list(row.cells)) for row in made] == [
        ("r=6", ["boolq"]),
        ("r=12", ["sst2"]),
    ]


def without(path, *names):
    """Take settings of the trainer out of a record, as of one older than they are."""
    content = json.loads(path.read_text())
    for name in names:
        content["config"]["trainer"].pop(name, None)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("groups", "names"), [(True, [""]), (False, ["trainer.group_by_length=false",
                                               "trainer.group_by_length=true"])]
)  # fmt: skip
def test_an_old_record_is_in_the_row_of_what_was_in_force_then(tmp_path, groups, names):
    for seed in range(2):
        old = run(tmp_path, seed=seed, groups={"trainer": {"micro_batch_tokens": None}})
        without(old, "group_by_length", "micro_batch_tokens")
    told = {"trainer": {"group_by_length": groups, "micro_batch_tokens": None}}
    run(tmp_path, seed=2, code=2, groups=told, started="2026-02-01T00:00:00+00:00")
    found = rows(tmp_path)
    assert [row.settings for row in found] == names
    if groups:
        assert (
            len({one.key for one in found[0].cells["boolq"].runs["superseded"]}) == 1
        )  # other settings, so another key
        table = only(tmp_path)
        assert any(note.startswith("Superseded by newer runs") for note in notes(table))
