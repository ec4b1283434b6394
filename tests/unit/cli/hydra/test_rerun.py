"""The command that makes runs anew has the configuration of their records."""

import shlex
from pathlib import Path

import pytest

from pedro_bench import records
from pedro_bench.analysis.reading import read_runs
from pedro_bench.analysis.recorded_settings import normalised, rate_in_force, with_defaults_before
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.cli.hydra.rerun import command_of
from pedro_bench.cli.options import outside_options
from pedro_bench.efficiency import request as measured
from pedro_bench.instruct import request as evaluated
from tests.unit.analysis.runs import run
from tests.unit.analysis.test_evaluations import evaluate

RECORDS = records.find(Path(__file__).resolve().parents[4] / "results")
CASES = ("pedro--boolq", "lora--squad", "ia3--boolq", "ssp--copa", "pedro_3--squad")


def committed(suite, case):
    """The committed records of a method on a task, seed 0, in order of suites and keys."""
    return [
        path
        for path in RECORDS
        if path.stem.startswith(f"{case}--")
        and path.stem.endswith("--seed0")
        and suite in ("any", path.parent.name)
    ]


def words_of(runs, module):
    words = shlex.split(command_of(runs))
    assert words[:3] == ["python", "-m", module]
    return words[3:]


@pytest.mark.parametrize(
    "path",
    [committed("any", case)[0] for case in CASES] + committed("micro_figure3", "lora--boolq")[:2],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_committed_records_command_composes_to_its_configuration(path):
    words = words_of(read_runs([path]), "pedro_bench")
    composed = settings_of(words).resolved_config
    recorded = records.config_now(records.read(path).config)
    assert rate_in_force(composed["method"], composed["trainer"]) == rate_in_force(
        recorded["method"], recorded["trainer"]
    )
    recorded["trainer"].pop("lr")  # the method has one of its own, and the command names no other
    recorded["trainer"].pop(
        "tried", None
    )  # the command types the rate, whose search is no part of a key
    for group in ("method", "task", "backbone", "data", "trainer", "evaluation"):
        own = with_defaults_before(group, recorded[group])
        assert {name: normalised(composed[group][name]) for name in own} == {
            name: normalised(value) for name, value in own.items()
        }
    assert settings_of(words).seeds == (0,)
    changed = {word.partition("=")[0] for word in words if "." in word.partition("=")[0]}
    assert not [name for name in changed if name.startswith(("task.", "backbone.", "data."))]
    assert ("method.r" in changed) == (path.parent.name == "micro_figure3")
    assert composed["suite"] == path.parent.name


def test_settings_that_differ_from_the_option_are_written(tmp_path):
    groups = {
        "method": {"label": "PEDRO", "r": 6, "roles": ["query", "ffn_up"]},
        "trainer": {"name": "micro", "max_steps": 9, "lr": None, "group_by_length": True},
        "backbone": {"name": "causal_lm", "path": "a b/c", "revision": None},
    }
    paths = [run(tmp_path, seed=seed, groups=groups) for seed in (3, 1)]
    words = words_of(read_runs(paths), "pedro_bench")
    assert "method.r=6" in words
    assert "method.roles=[query,ffn_up]" in words
    assert "trainer.max_steps=9" in words
    assert "backbone.path='a b/c'" in words
    assert "seeds=[1,3]" in words
    assert not any(
        word.startswith(("method.label", "trainer.lr", "trainer.group")) for word in words
    )


def test_what_lies_in_another_folder_is_named_and_a_rate_that_is_not_in_force_is_not(tmp_path):
    own = {"method": {"_target_": "toy.Toy", "lr": 0.01}, "trainer": {"name": "micro", "lr": 0.002}}
    of_a_class = read_runs([run(tmp_path / "a", "toy", groups=own)])
    words = shlex.split(command_of(of_a_class))
    assert words[:6] == ["python", "-m", "pedro_bench", "--config-dir", "DIR", "method=toy"]
    assert "method.lr=0.01" in words
    assert not [word for word in words if word.startswith("trainer.lr")]
    own["method"] = {"_target_": "pedro_bench.methods.lora.Lora", "lr": None}
    of_a_yaml = read_runs([run(tmp_path / "b", "mine", groups=own)])
    assert "--config-dir" not in command_of(of_a_yaml)
    assert "trainer.lr=0.002" in command_of(of_a_yaml)
    (tmp_path / "conf" / "method").mkdir(parents=True)
    (tmp_path / "conf" / "method" / "mine.yaml").write_text("name: mine\n")
    with outside_options([f"--config-dir={tmp_path / 'conf'}"]):
        assert "pedro_bench --config-dir DIR method=mine" in command_of(of_a_yaml)


def test_evaluations_and_measurements_have_their_own_commands(tmp_path):
    of = run(tmp_path, "pedro", "alpaca")
    evaluate(
        tmp_path, of, "mt_bench", {"score": 6.5}, settings={"limit": 10, "judge": {"model": "m"}}
    )
    from pedro_bench.analysis.frame import results, runs_of

    frame = results(tmp_path)
    words = words_of(runs_of(frame[frame.task == "mt_bench"]), "pedro_bench.cli.instruct")
    assert words == [f"run={of}", "suite=mt_bench", "limit=10", "judge.model=m"]
    assert split_extra(words, evaluated.DEFAULTS)[1] == []
    again = command_of(runs_of(frame[frame.task == "mt_bench"]), "anew")
    assert shlex.split(again)[3:] == [*words, "results_dir=anew"]
    assert split_extra(shlex.split(again)[3:], evaluated.DEFAULTS)[1] == []
    for number, (fingerprint, rows) in enumerate(
        (
            ("files:0123", ["data.root=DIR"]),
            ("hub:cais/mmlu:" + "c" * 40, ["data=hub", "data.revision=" + "c" * 40]),
        )
    ):
        other = run(tmp_path, "lora", "alpaca", seed=number, suite=f"other{number}")
        evaluate(tmp_path, other, "mmlu", {"accuracy": 25.0}, data={"fingerprint": fingerprint})
        own = [one for one in runs_of(results(tmp_path)) if one.evaluates == other.stem]
        words = words_of(own, "pedro_bench.cli.instruct")
        assert words == [f"run={other}", "suite=mmlu", *rows]
        assert split_extra(words, evaluated.DEFAULTS)[1] == []
    request = {**measured.DEFAULTS, "repeats": 3, "beams": [1]}
    path = run(
        tmp_path, "lora", "generate_beam1", suite="table3", groups={"efficiency": request},
    )  # fmt: skip
    trained, measurement = read_runs([of, path])
    assert measurement.is_measurement and records.read(path).is_measurement
    assert not trained.is_measurement and not records.read(of).is_measurement
    words = words_of([measurement], "pedro_bench.cli.efficiency")
    assert words == ["backbone=micro", "beams=[1]", "repeats=3", "suite=table3"]
    for runs in ([measurement], [trained]):
        assert command_of(runs, "anew") == f"{command_of(runs)} results_dir=anew"
