import json
from dataclasses import fields
from pathlib import Path

import pytest
from hydra.utils import get_class

from pedro_bench import records
from pedro_bench.analysis.rows import (
    EARLIER,
    NOT_IN_KEY,
    RATE,
    known_settings,
    rate_in_force,
    row_settings,
    with_earlier,
)
from pedro_bench.checks import NEUTRAL
from pedro_bench.errors import RecordError
from pedro_bench.evaluation.config import BothConfig, EvaluationConfig
from pedro_bench.methods.full_ft import FullFineTuning
from pedro_bench.methods.pedro import Pedro
from pedro_bench.methods.ssp import Ssp
from pedro_bench.protocols.task import Task
from pedro_bench.reporting.notes import notes
from pedro_bench.tasks.instruction import Instruction
from pedro_bench.training.config import TrainerConfig
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


def test_a_newer_group_replaces_an_older_one_and_says_so(tmp_path):
    five(tmp_path, code=1, score=70.0)
    for seed in range(3):
        run(tmp_path, seed=seed, code=2, started=f"2026-02-01T00:00:0{seed}+00:00", score=90.0)
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert [one.score for one in cell.shown] == [90.0, 90.0, 90.0]
    assert len({one.key for one in cell.runs["superseded"]}) == 1


def test_groups_that_overlap_in_time_are_refused(tmp_path):
    run(tmp_path, seed=0, code=1)
    run(tmp_path, seed=2, code=1)
    run(tmp_path, seed=1, code=2)
    with pytest.raises(RecordError, match=r"pedro on boolq in suite 'main' must share one key"):
        built(tmp_path)


def test_groups_that_differ_in_what_no_row_shows_are_refused(tmp_path):
    run(tmp_path, seed=0, groups={"data": {"holdout": 0.1}})
    run(tmp_path, seed=0, groups={"data": {"holdout": 0.2}}, started="2026-02-01T00:00:00+00:00")
    with pytest.raises(RecordError, match="neither settings nor time can order"):
        built(tmp_path)


def test_another_printed_name_is_no_other_input(tmp_path):
    path = run(tmp_path, seed=0)
    path.write_text(path.read_text().replace('"label": "BoolQ"', '"label": "Bool-Q"'))
    run(tmp_path, seed=0, code=2, started="2026-02-01T00:00:00+00:00")
    (row,) = rows(tmp_path)
    assert seeds(row.cells["boolq"], "superseded") == [0]


def test_failed_runs_are_kept_unless_their_seed_finished(tmp_path):
    run(tmp_path, seed=0, code=1, status="failed", metrics={}, error="out of memory.")
    run(tmp_path, seed=1, code=1, status="failed", metrics={}, error="out of memory.")
    run(tmp_path, seed=0, code=2, started="2026-02-01T00:00:00+00:00")
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert seeds(cell) == [0]
    assert seeds(cell, "failed") == [1]


def test_a_damaged_record_stops_the_tables(tmp_path):
    path = run(tmp_path)
    path.write_text("{")
    with pytest.raises(RecordError, match=rf"record {path} must be JSON.*: remove the file, and"):
        built(tmp_path)


def test_runs_begun_and_not_finished_are_kept_apart(tmp_path):
    run(tmp_path, seed=0)
    run(tmp_path, seed=1, status="running", metrics={})
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert seeds(cell, "unfinished") == [1]
    assert seeds(cell, "failed") == []


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


def test_another_spelling_of_what_no_row_shows_is_no_other_input(tmp_path):
    later = "2026-02-01T00:00:00+00:00"
    run(tmp_path, code=1, groups={"data": {"holdout": None, "seed": 0}})
    run(tmp_path, code=2, groups={"data": {"seed": 0.0}}, started=later)
    (row,) = rows(tmp_path)
    assert len({one.key for one in row.cells["boolq"].runs["superseded"]}) == 1


def test_newer_runs_that_did_not_finish_are_kept_beside_the_older_ones(tmp_path):
    for seed in range(3):
        run(tmp_path, seed=seed, code=1)
    later = {"code": 2, "metrics": {}, "started": "2026-02-01T00:00:00+00:00"}
    run(tmp_path, seed=0, status="failed", error="out of memory.", **later)
    run(tmp_path, seed=2, status="running", **later)
    run(tmp_path, seed=3, status="running", **later)
    (row,) = rows(tmp_path)
    cell = row.cells["boolq"]
    assert seeds(cell) == [0, 1, 2]
    assert [(one.seed, one.status) for one in cell.runs["overtaking"]] == [
        (0, "failed"),
        (2, "running"),
    ]
    assert seeds(cell, "unfinished") == [3]
    assert seeds(cell, "failed") == []


TRAINER = {part.name for part in fields(TrainerConfig)} - TrainerConfig.moves_no_number
RECORDS = Path(__file__).resolve().parents[3] / "results" / "runs"


BEFORE = {
    "trainer.group_by_length": True,
    "trainer.lr_scheduler_type": "linear",
    "trainer.label_smoothing_factor": 0,
    "trainer.metric_for_best_model": "loss",
    "trainer.decays_vectors": False,
    "trainer.head_init": "transformers",
}
"""What records had that lack these settings."""

BEFORE_NULL = {
    f"trainer.{name}": None
    for name in ("warmup_steps", "eval_every_epochs", "eval_rows", "head_dropout")
}
"""The same of settings that were not in force."""


def test_what_the_key_leaves_out_makes_no_row():
    assert all("name" in left_out for left_out in NOT_IN_KEY.values())
    assert {"name", "label", "checkpoint_every_steps", "rates"} <= NOT_IN_KEY["trainer"]
    assert NOT_IN_KEY["trainer"] == TrainerConfig.moves_no_number - {"lr"}


@pytest.mark.parametrize("own", [None, 3e-4])
def test_the_rate_in_force_is_the_trainers(own):
    method = FullFineTuning(name="full_ft", label="Full-FT", lr=own)
    trainer = TrainerConfig(lr=1e-3)
    assert rate_in_force({"lr": own}, {"lr": 1e-3}) == trainer.resolved_lr(method)


def test_settings_are_flat_and_in_one_spelling():
    config = {
        "method": {"_target_": "x.Y", "name": "lora", "r": 8.0, "roles": None, "lr": 0.01},
        "trainer": {"name": "micro", "lr": 1e-4, "beta1": 0.9, "gradient_checkpointing": True},
        "evaluation": {"batch_size": 64, "num_beams": 3},
        "task": {"version": 2},
    }
    assert row_settings(known_settings(config)) == {
        **BEFORE,
        "method.r": 8,
        "trainer.beta1": 0.9,
        RATE: 0.01,
        "evaluation.num_beams": 3,
    }
    assert str(known_settings({"method": {"r": 8.0}})) == "{'method.r': 8}"
    assert known_settings({}) == {}
    nested = {"method": {"sizes": [1.0, {"deep": None, "wide": 2.0}]}}
    assert known_settings(nested) == {"method.sizes": [1, {"wide": 2}]}


def test_of_settings_that_committed_records_lack_it_is_known_what_was_in_force():
    lacking: dict[str, set[str]] = {}
    paths = [path for path in records.find(RECORDS.parent) if path.stem.endswith("--seed0")]
    assert len(paths) >= 130
    for path in paths:
        record = records.read(path)
        if record.is_measurement:
            continue
        config = record.config
        lacking.setdefault("trainer", set()).update(TRAINER - set(config["trainer"]))
        for group in (config["method"], config["evaluation"]):
            now = {part.name for part in fields(get_class(group["_target_"]))}
            lacking.setdefault(group["_target_"], set()).update(now - set(group))
    for kind, names in lacking.items():
        assert names <= set(with_earlier(kind, {"_target_": kind})), kind
    assert set(EARLIER["trainer"]) <= TRAINER


def test_what_is_null_is_told_and_makes_no_row():
    told = known_settings({"trainer": {"max_steps": None, "lr": 0.1}})
    assert told == {
        **BEFORE,
        **BEFORE_NULL,
        "trainer.micro_batch_tokens": None,
        "trainer.max_steps": None,
        RATE: 0.1,
    }
    assert row_settings(told) == {**BEFORE, RATE: 0.1}


def test_an_older_record_of_a_class_has_what_was_in_force_for_it():
    evaluation = {"_target_": "pedro_bench.evaluation.config.EvaluationConfig", "num_beams": 3}
    ssp = {"_target_": "pedro_bench.methods.ssp.Ssp", "r": 4}
    told = known_settings({"method": ssp, "evaluation": evaluation})
    assert (told["method.alpha"], told["evaluation.no_repeat_ngram_size"]) == (1, 0)
    told = known_settings({"method": ssp | {"alpha": 16.0}, "evaluation": {"num_beams": 3}})
    assert (told["method.alpha"], "evaluation.no_repeat_ngram_size" in told) == (16, False)


def test_no_record_makes_a_module_be_imported_but_the_packages_own(tmp_path, monkeypatch):
    """Of classes that are not the package's, or gone from it, only what all of their group have is known."""
    (tmp_path / "foreign.py").write_text("raise AssertionError('imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    for target in ("foreign.Method", "pedro_bench.methods.gone.Gone", "pedro_bench.checks", "x"):
        assert with_earlier("method", {"_target_": target, "r": 4}) == {"_target_": target, "r": 4}
        assert with_earlier("task", {"_target_": target})["train_split"] == "train"
    assert with_earlier("method", None) is None


@pytest.mark.parametrize(
    ("group", "kind"),
    [
        ("trainer", TrainerConfig),
        ("evaluation", EvaluationConfig),
        ("evaluation", BothConfig),
        ("method", Ssp),
        ("method", Pedro),
        ("task", Task),
        ("task", Instruction),
    ],
)
def test_what_a_key_has_only_where_it_was_changed_is_what_older_records_had(group, kind):
    later = {one.name: one.metadata[NEUTRAL] for one in fields(kind) if NEUTRAL in one.metadata}
    left_out = NOT_IN_KEY.get(group, ())
    in_key = {name: value for name, value in later.items() if name not in left_out}
    assert in_key
    target = f"{kind.__module__}.{kind.__name__}"
    assert in_key.items() <= with_earlier(group, {"_target_": target}).items()
