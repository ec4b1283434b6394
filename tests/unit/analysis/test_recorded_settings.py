"""What was in force in a run, by its record and by what came later."""

from dataclasses import fields
from pathlib import Path

import pytest
from hydra.utils import get_class

from pedro_bench import records
from pedro_bench.analysis.recorded_settings import (
    DEFAULTS_BEFORE,
    LEFT_OUT_OF_KEY,
    RATE_IN_FORCE,
    known_settings,
    rate_in_force,
    with_defaults_before,
)
from pedro_bench.analysis.rows import row_settings
from pedro_bench.checks import NEUTRAL
from pedro_bench.evaluation.config import BothConfig, EvaluationConfig
from pedro_bench.methods.full_ft import FullFineTuning
from pedro_bench.methods.pedro import Pedro
from pedro_bench.methods.ssp import Ssp
from pedro_bench.protocols.task import Task
from pedro_bench.tasks.instruction import Instruction
from pedro_bench.training.config import TrainerConfig

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
    assert all("name" in left_out for left_out in LEFT_OUT_OF_KEY.values())
    assert {"name", "label", "checkpoint_every_steps", "rates"} <= LEFT_OUT_OF_KEY["trainer"]
    assert LEFT_OUT_OF_KEY["trainer"] == TrainerConfig.moves_no_number - {"lr"}


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
        RATE_IN_FORCE: 0.01,
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
        assert names <= set(with_defaults_before(kind, {"_target_": kind})), kind
    assert set(DEFAULTS_BEFORE["trainer"]) <= TRAINER


def test_what_is_null_is_told_and_makes_no_row():
    told = known_settings({"trainer": {"max_steps": None, "lr": 0.1}})
    assert told == {
        **BEFORE,
        **BEFORE_NULL,
        "trainer.micro_batch_tokens": None,
        "trainer.max_steps": None,
        RATE_IN_FORCE: 0.1,
    }
    assert row_settings(told) == {**BEFORE, RATE_IN_FORCE: 0.1}


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
        assert with_defaults_before("method", {"_target_": target, "r": 4}) == {
            "_target_": target,
            "r": 4,
        }
        assert with_defaults_before("task", {"_target_": target})["train_split"] == "train"
    assert with_defaults_before("method", None) is None


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
    left_out = LEFT_OUT_OF_KEY.get(group, ())
    in_key = {name: value for name, value in later.items() if name not in left_out}
    assert in_key
    target = f"{kind.__module__}.{kind.__name__}"
    assert in_key.items() <= with_defaults_before(group, {"_target_": target}).items()
