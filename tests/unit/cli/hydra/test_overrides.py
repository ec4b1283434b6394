"""Overrides: values that Hydra reads as something else are refused with advice that works."""

import re
from pathlib import Path

import pytest

from pedro_bench.__main__ import main
from pedro_bench.cli.efficiency import efficiency
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.overrides import only_extra, split_extra
from pedro_bench.cli.inspect import inspect
from pedro_bench.cli.params import params
from pedro_bench.cli.plan import plan
from pedro_bench.cli.score import score
from pedro_bench.cli.tables import tables
from pedro_bench.cli.tune import tune
from pedro_bench.errors import ConfigError, PedroBenchError


def test_a_commands_own_keys_are_taken_out():
    values, others = split_extra(["split=dev", "task=sst2"], {"split": "test", "output": "text"})
    assert values == {"split": "dev", "output": "text"}
    assert others == ["task=sst2"]
    assert only_extra(["suite=[a,b]"], {"suite": None}) == {"suite": ["a", "b"]}
    assert only_extra(["suite=a,b"], {"suite": None}) == {"suite": ["a", "b"]}
    with pytest.raises(ConfigError, match=r"suit must be a known key, got 'suit=a'\. Did you mean"):
        only_extra(["suit=a"], {"suite": None})


@pytest.mark.parametrize(
    ("command", "arguments", "said"),
    [
        (
            params,
            ["bakcbone=llama2_7b"],
            "bakcbone must be a known key, .* Did you mean 'backbone'",
        ),
        (params, ["budgt=1e6"], "budgt must be a known key, .* Did you mean 'budget'"),
        (score, ["task=sst2", "predictons=p"], "predictons must .* Did you mean 'predictions'"),
        (score, ["task=sst2", "predictions=p", "+dta.root=x"], "dta.root must be a known key"),
        (inspect, ["task=sst2", "tokns=false"], "tokns must .* Did you mean 'tokens'"),
        (plan, ["wach=3"], "wach must .* Did you mean 'watch'"),
        (tune, ["rates=x", "trails=3"], "trails must .* Did you mean 'trials'"),
        (efficiency, ["bemas=[1]"], "bemas must .* Did you mean 'beams'"),
    ],
)
def test_a_key_that_no_command_or_configuration_has_is_refused(command, arguments, said):
    """The ledger of parameters and the scores of a file were made as if it had not been typed."""
    with pytest.raises(ConfigError, match=said):
        command(arguments)


def test_paths_beyond_ascii_need_no_quotes():
    settings = settings_of(["results_dir=Ergebnisse/für", "data=files", "data.root=データ"])
    assert settings.results_dir == "Ergebnisse/für"
    assert settings.resolved_config["data"]["root"] == "データ"
    assert (
        split_extra(["predictions=ü.jsonl"], {"predictions": None})[0]["predictions"] == "ü.jsonl"
    )


@pytest.mark.parametrize(
    ("typed", "seeds"),
    [
        ("range(5)", (0, 1, 2, 3, 4)),
        ("range(0,9,3)", (0, 3, 6)),
        ("choice(4,2)", (4, 2)),
        ("3,1", (3, 1)),
        ("sort(3,1)", (1, 3)),
    ],
)
def test_the_list_that_is_advised_in_place_of_a_sweep_works(typed, seeds):
    with pytest.raises(ConfigError, match="must have one value") as caught:
        settings_of([f"seeds={typed}"])
    (advised,) = re.findall("write '(.*)'", str(caught.value))
    assert settings_of([advised]).seeds == seeds
    assert settings_of(["seeds=5"]).seeds == (5,)


@pytest.mark.parametrize("typed", ["interval(0,5)", "glob(*)", "range(10000)"])
def test_sweeps_without_a_list_are_refused(typed):
    rule = "must have values that can be listed, 1000 at most, got "
    with pytest.raises(ConfigError, match="^seeds " + re.escape(rule + typed)):
        settings_of([f"seeds={typed}"])
    with pytest.raises(ConfigError, match="^beams " + re.escape(rule + typed)):
        split_extra([f"beams={typed}"], {"beams": None})


@pytest.mark.parametrize("typed", ["[range(5)]", "[7,range(5)]", "range(5),7"])
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_a_range_within_a_list_is_refused(typed, flags, capsys):
    assert main([*flags, f"seeds={typed}"]) == 2
    found = capsys.readouterr().err
    assert found.startswith(f"error: seeds must list its values one by one, got {typed}: write ")


@pytest.mark.parametrize(
    ("overrides", "advised"),
    [
        (["suite=2024"], 'suite="2024"'),
        (["suite=2.5"], 'suite="2.5"'),
        (["suite=true"], 'suite="true"'),
        (["output_dir=7"], 'output_dir="7"'),
        (["tracking=wandb", "tracking.project=2024"], 'tracking.project="2024"'),
        (["data=files", "data.root=2024"], 'data.root="2024"'),
        (["backbone=causal_lm", "backbone.path=2024"], 'backbone.path="2024"'),
    ],
)
def test_a_name_that_reads_as_a_number_is_to_be_quoted_and_the_advice_works(overrides, advised):
    with pytest.raises(PedroBenchError, match="must be") as caught:
        settings_of(overrides)
    assert str(caught.value).endswith(f": quote a text, as in '{advised}'.")
    key, _, value = advised.partition("=")
    found = settings_of([*overrides[:-1], advised]).resolved_config
    for part in key.split("."):
        found = found[part]
    assert found == value.strip('"')


def test_other_values_of_a_name_are_not_to_be_quoted():
    with pytest.raises(PedroBenchError, match=r"got None\.$"):
        settings_of(["suite=null"])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "my home"))
    return tmp_path / "my home"


@pytest.mark.parametrize("quote", ["", '"', "'"])
@pytest.mark.parametrize("key", ["results_dir", "output_dir"])
def test_the_home_folder_of_a_path(key, quote, home):
    settings = settings_of([f"{key}={quote}~/x{quote}"])
    assert getattr(settings, key) == settings.resolved_config[key] == str(home / "x")
    assert getattr(settings_of([f"{key}={quote}~{quote}"]), key) == str(home)
    assert getattr(settings_of([f"{key}=./~/x"]), key) == "./~/x"
    with pytest.raises(ConfigError, match="got '~nobody-here/x', the home of an unknown user"):
        settings_of([f"{key}={quote}~nobody-here/x{quote}"])


def test_the_home_folder_in_other_keys_and_commands(home):
    """Nothing is there: the sentence names where it was looked for."""
    for overrides in (["data=files", "data.root=~/d"], ["backbone=causal_lm", "backbone.path=~/d"]):
        assert settings_of(overrides).suite == "main"
    with pytest.raises(PedroBenchError, match=re.escape(f"{home}/p.jsonl")):
        score(["task=sst2", "predictions=~/p.jsonl"])
    with pytest.raises(PedroBenchError, match=re.escape(f"got none in '{home}/r/runs'")):
        tables(["results_dir=~/r"])
    own = dict.fromkeys(("run", "figures_dir", "tables_dir", "data.root"))
    found, _ = split_extra([f"{key}=~/x" for key in own], own)
    assert set(found.values()) == {str(home / "x")}
    assert not list(Path.cwd().iterdir())


def test_keys_can_still_be_taken_away():
    with pytest.raises(ConfigError, match=r"method\.r must be given, got nothing"):
        settings_of(["~method.r"])
