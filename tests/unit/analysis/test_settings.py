"""What tells rows apart, against what the key of a run holds."""

from dataclasses import fields
from itertools import product
from pathlib import Path

import pytest
from hydra.utils import get_class

from pedro_bench import records
from pedro_bench.analysis.settings import (
    EARLIER,
    NOT_IN_KEY,
    RATE,
    known_settings,
    rate_in_force,
    row_settings,
)
from pedro_bench.checks import NEUTRAL
from pedro_bench.evaluation.config import BothConfig, EvaluationConfig
from pedro_bench.methods.full_ft import FullFineTuning
from pedro_bench.methods.ssp import Ssp
from pedro_bench.runs import identity
from pedro_bench.training.config import TrainerConfig

TRAINER = {part.name for part in fields(TrainerConfig)} - TrainerConfig.moves_no_number
RECORDS = Path(__file__).resolve().parents[3] / "results" / "runs"


BEFORE = {
    "trainer.group_by_length": True,
    "trainer.lr_scheduler_type": "linear",
    "trainer.label_smoothing_factor": 0,
}
"""What records had that lack these settings."""

BEFORE_NULL = dict.fromkeys(
    ("trainer.warmup_steps", "trainer.eval_every_epochs", "trainer.eval_rows")
)
"""The same of settings that were not in force."""


def test_what_the_key_leaves_out_makes_no_row():
    own = {group: set(identity.NOT_IN_KEY[group]) for group in ("method", "evaluation")}
    assert {group: NOT_IN_KEY[group] for group in own} == own
    assert {"name", "label", "checkpoint_every_steps", "untuned_lr"} <= NOT_IN_KEY["trainer"]
    assert NOT_IN_KEY["trainer"] == TrainerConfig.moves_no_number - {"lr"}


@pytest.mark.parametrize(
    ("own", "trained", "small"), list(product((None, 3e-4), (None, 1e-3), (None, 2e-3)))
)
def test_the_rate_in_force_is_the_trainers(own, trained, small):
    method = FullFineTuning(name="full_ft", label="Full-FT", lr=own, micro_lr=small)
    trainer = TrainerConfig(lr=trained, untuned_lr=5e-3)
    settings = ({"lr": own, "micro_lr": small}, {"lr": trained, "untuned_lr": 5e-3})
    assert rate_in_force(*settings) == trainer.resolved_lr(method)


def test_settings_are_flat_and_in_one_spelling():
    config = {
        "method": {"_target_": "x.Y", "name": "lora", "r": 8.0, "roles": None, "micro_lr": 0.01},
        "trainer": {"name": "micro", "lr": None, "beta1": 0.9, "gradient_checkpointing": True},
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
        config = records.read(path).config
        lacking.setdefault("trainer", set()).update(TRAINER - set(config["trainer"]))
        for group in (config["method"], config["evaluation"]):
            now = {part.name for part in fields(get_class(group["_target_"]))}
            lacking.setdefault(group["_target_"], set()).update(now - set(group))
    assert all(names <= set(EARLIER.get(kind, ())) for kind, names in lacking.items())
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


@pytest.mark.parametrize("kind", [TrainerConfig, EvaluationConfig, BothConfig, Ssp])
def test_what_a_key_tells_only_where_it_was_changed_is_what_older_records_had(kind):
    later = {one.name: one.metadata[NEUTRAL] for one in fields(kind) if NEUTRAL in one.metadata}
    name = "trainer" if kind is TrainerConfig else f"{kind.__module__}.{kind.__name__}"
    assert later
    assert later.items() <= EARLIER[name].items()
