"""Overrides in, settings out; every mistake is one sentence with value, rule and near match."""

import json
import shutil

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.cli.options import conf_folder
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import build_settings


def test_the_default_is_pedro_on_boolq_with_five_seeds():
    settings = settings_of([])
    assert (settings.method.name, settings.task.name) == ("pedro", "boolq")
    assert (settings.backbone.name, settings.data.name) == ("micro", "micro")
    assert settings.seeds == (0, 1, 2, 3, 4)
    assert settings.rerun is False


def test_overrides_reach_the_objects_and_the_resolved_configuration():
    settings = settings_of(["method=lora", "method.r=7", "seeds=3", "trainer.lr=1e-3"])
    assert (settings.method.name, settings.method.r, settings.seeds) == ("lora", 7, (3,))
    assert settings.resolved_config["method"]["r"] == 7
    assert settings.resolved_config["seeds"] == [3]
    assert settings.resolved_config["trainer"]["lr"] == 1e-3


def test_the_resolved_configuration_is_json_and_builds_the_same_settings():
    settings = settings_of(["method=pedro_3", "task=squad"])
    again = build_settings(json.loads(json.dumps(settings.resolved_config)))
    assert again == settings


def test_a_default_of_the_dataclass_can_be_overridden_although_no_yaml_names_it():
    # task.version stands in YAML; task.dev_rows has its default in the dataclass for some tasks.
    assert settings_of(["task=boolq", "task.dev_rows=77"]).task.dev_rows == 77


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["method=pedroo"],
            r"method must be one of .*got 'pedroo'\. Did you mean 'pedro'\?",
        ),
        (["task=bolq"], r"task must be one of .*got 'bolq'\. Did you mean 'boolq'"),
        (["method.rr=3"], r"method\.rr must be a known key, got 'rr'\. Did you mean 'r'\?"),
        (["+method.rr=3"], r"method\.rr must be a known key, got 'rr'"),
        (["metod=pedro"], r"metod must be a known key, got 'metod'\. Did you mean 'method'"),
        (["sedes=[1]"], r"sedes must be a known key, got 'sedes'\. Did you mean 'seeds'"),
        (["pedro"], r"form key=value, got 'pedro'\. Did you mean method=pedro\?"),
        (["=3"], r"form key=value, got '=3'"),
        *(
            ([given], r"^an override must have a value on each side of a comma, got .*: leave the")
            for given in ("method=lora,", "task=é,", "task=,boolq", "seeds=[0,,1]", "seeds=[0,]")
        ),
        *(
            ([given], rf"brackets and quotation marks in pairs, got .*{alone} alone: write the o")
            for given, alone in (
                ("method.r=[", r"\["),
                ("seeds=[0,", r"\["),
                ("seeds=0]", "]"),
                ("task.labels={a:[1}", "}"),
                ("method.r=sort(1,2", r"\("),
                ("suite='a", "'"),
                ("suite=\"it's", '"'),
            )
        ),
        *(
            ([given], r"must have the form key=value, got '[^:]*: quote values with special")
            for given in ("task==boolq", "method=lora=3", "method.r=3#", "task.prompt={x}")
        ),
        *(
            ([given], r"^the key of an override must be names joined by dots, .* got '[^']*'\.$")
            for given in ("method..r=3", "-x=3", "me thod=3")
        ),
        *(([given], r"form key=value, got '[^']*'\.$") for given in ("~", "~=3", "+=3")),
        (["suite=f(1)"], r"a function of Hydra's, .* got 'suite=f\(1\)' \(Unknown function 'f'\)"),
        (["method.r=int(a)"], r"got 'method.r=int\(a\)' \(invalid literal .*: quote a text"),
        *(
            ([given], r"^(task|method)\.\w+ must name entries, .* with ~\1\.\w+\.NAME\.$")
            for given in ("task.labels={}", "+task.aliases={ }", "method.tuned={}")
        ),
        (["task.labels.a={}"], r"^task\.labels\.a must name entries, .* got {}: leave it out"),
        (["task.labels={a: [b]}"], r"^task\.labels must be a text, not empty, got \('b',\)"),
        (["method.r=0"], r"method\.r must be a whole number of at least 1, got 0"),
        (["method.r=abc"], r"method\.r must be a whole number of at least 1, got 'abc'"),
        (["method.roles.x=3"], r"the overrides must fit together, got: "),
        (["~method.r"], r"method\.r must be given, got nothing: add method\.r="),
        (["~method"], r"method must be given, got nothing"),
        (["backbone.path=???"], r"backbone\.path must be given, got nothing"),
        (["suite=${nowhere}"], r"must resolve, got: Interpolation key 'nowhere' not found"),
        (["method=lora,pedro"], r"method must have one value, got lora,pedro: add -m"),
        (["seeds=0,1"], r"or, where a list is meant, write 'seeds=\[0,1\]'"),
        (["seeds=[1,1]"], r"distinct whole numbers of at least 0.* got \[1, 1\]"),
        (["seeds=[]"], r"distinct whole numbers.* got \[\]"),
        (["seeds=-1"], r"distinct whole numbers.* got -1"),
        (["seeds=true"], r"distinct whole numbers.* got True"),
        (["device=tpu"], r"device must be auto, cpu, cuda or cuda:N, got 'tpu'"),
        (["device=cuda:x"], r"device must be .* got 'cuda:x'"),
        (["output=xml"], r"output must be one of the known words, got 'xml'"),
        (["rerun=1"], r"rerun must be true or false, got 1"),
        (["method._target_=os.system"], r"_target_ must name a frozen dataclass, got 'os.system'"),
        (["method._target_=no.where"], r"_target_ must name a class .* got 'no.where'"),
    ],
)
def test_bad_input_is_one_sentence(overrides, message):
    with pytest.raises(ConfigError, match=message) as caught:
        settings_of(overrides)
    assert "\n" not in str(caught.value)
    for word in ("BRACKET_OPEN", "input", "parsing", "Override("):
        assert word not in str(caught.value), "Hydra's words of its grammar"


def test_entries_of_a_mapping_are_added_and_removed():
    """Of several configurations too, where one may say {}."""
    own = settings_of(["task=mrpc", "task.labels={2: maybe}", "~task.labels.0", "~task.aliases"])
    assert own.task.labels == {"1": "yes", "2": "maybe"}
    assert own.task.aliases == {}
    with pytest.raises(ConfigError, match="task.labels must name entries, .* got {}"):
        sweep_of(["task=mrpc", "task.labels={2: maybe},{}"])


@pytest.mark.parametrize("suite", ["../x", "a/b", ".x"])
def test_a_suite_cannot_leave_its_folder(suite):
    with pytest.raises(Exception, match=r"suite must be a name of letters.*got ") as caught:
        settings_of([f"suite={suite}"])
    assert caught.value.exit_code == 2


def test_a_sweep_is_every_combination_in_order():
    sweep = sweep_of(["method=pedro,lora", "method.r=3,6", "task=sst2"])
    assert [one.overrides for one in sweep] == [
        ("method=pedro", "method.r=3"),
        ("method=pedro", "method.r=6"),
        ("method=lora", "method.r=3"),
        ("method=lora", "method.r=6"),
    ]
    assert [one.settings.method.r for one in sweep] == [3, 6, 3, 6]
    assert {one.settings.task.name for one in sweep} == {"sst2"}


def test_an_experiment_may_bring_its_grid_and_a_typed_value_wins(tmp_path, monkeypatch):
    conf = shutil.copytree(conf_folder(), tmp_path / "conf")
    (conf / "experiment").mkdir(exist_ok=True)
    (conf / "experiment" / "grid.yaml").write_text(
        "# @package _global_\nsuite: grid\n"
        "hydra: {sweeper: {params: {method: 'lora,pedro', method.r: '3,6'}}}\n"
    )
    monkeypatch.setattr("pedro_bench.cli.hydra.compose.conf_folder", lambda: conf)
    monkeypatch.setattr("pedro_bench.cli.options.conf_folder", lambda: conf)
    sweep = sweep_of(["experiment=grid"])
    chosen = [one.settings for one in sweep]
    assert [(one.method.name, one.method.r) for one in chosen] == [
        ("lora", 3),
        ("lora", 6),
        ("pedro", 3),
        ("pedro", 6),
    ]
    assert {one.suite for one in chosen} == {"grid"}
    typed = sweep_of(["+experiment=grid", "method.r=24"])
    assert [one.settings.method.r for one in typed] == [24, 24]
    with pytest.raises(ConfigError, match=r"experiment must be one of .*got 'gird'.* 'grid'"):
        sweep_of(["experiment=gird"])


def test_a_sweep_without_several_values_is_one_job():
    assert len(sweep_of(["method=pedro"])) == 1


def test_one_bad_combination_stops_the_sweep_and_is_named():
    with pytest.raises(ConfigError, match=r"at least 1, got 0\. \(in the combination method.r=0\)"):
        sweep_of(["method.r=3,0"])
    with pytest.raises(ConfigError, match=r"got 'pdro'\. Did you mean 'pedro'"):
        sweep_of(["method=lora,pdro"])
