"""Options of other folders: listed and composed beside the package's own, and gone afterwards."""

import sys

import pytest

from pedro_bench.cli.command import guarded
from pedro_bench.cli.hydra.compose import (
    configuration_of,
    search_path,
    settings_of,
    side_by_side,
)
from pedro_bench.cli.hydra.option_files import (
    ANY,
    FOLDER,
    HUB,
    INDEX,
    OTHER,
    PACKAGE,
    RANDOM,
    backbones_by_origin,
    option_of,
)
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.cli.options import (
    conf_folder,
    groups,
    help_text,
    options,
    outside_flags,
    outside_options,
)
from pedro_bench.errors import ConfigError
from tests import tiny

RENAMED = "_target_: pedro_bench.methods.lora.Lora\nname: {name}\nlabel: L\nr: {r}\nalpha: 1\n" + (
    "dropout: 0.0\nroles: [query]\n"
)


@pytest.fixture
def folder(tmp_path):
    """A folder, with a space and a quote in its name, that holds a method and an experiment."""
    place = tmp_path / "a 'folder' = mine"
    (place / "method").mkdir(parents=True)
    (place / "method" / "mine.yaml").write_text(RENAMED.format(name="mine", r=3))
    (place / "experiment").mkdir()
    (place / "experiment" / "small.yaml").write_text(
        "# @package _global_\nsuite: small\nhydra: {sweeper: {params: {method.r: '2,5'}}}\n"
    )
    (place / "__pycache__").mkdir()
    return place


def test_an_option_of_another_folder_is_listed_and_composes(folder):
    with outside_options(["--config-dir", str(folder), "method=mine"]) as others:
        assert others == ["method=mine"]
        assert {"mine", "pedro"} <= set(options("method"))
        assert "experiment" in groups()
        assert "__pycache__" not in groups()
        assert "mine" in help_text()
        settings = settings_of(others)
        assert (settings.method.name, settings.method.r) == ("mine", 3)
        assert settings_of(["method=lora"]).method.r == 4
        _, methods = side_by_side("method", ["mine", "lora"], ["method.r=7"])
        assert [methods[name]["r"] for name in methods] == [7, 7]
        with pytest.raises(ConfigError, match=r"got 'mini'\. Did you mean 'mine'\?"):
            configuration_of(["method=mini"])
    assert "mine" not in options("method")
    assert str(folder) not in sys.path
    own = r"method must be one of .* got 'mine'.* with --config-dir DIR, DIR/method/<name>\.yaml\.$"
    with pytest.raises(ConfigError, match=own):
        settings_of(["method=mine"])


def test_help_says_where_each_backbones_weights_come_from(tmp_path):
    (tmp_path / "backbone").mkdir()
    for name, text in (
        ("mine", f"path: {tmp_path}"),
        ("theirs", "path: owner/name\nrevision: 0"),
        ("packed", "path: outputs/x\nwheel: {project: x}"),
        ("other", "size: 3"),
    ):
        (tmp_path / "backbone" / f"{name}.yaml").write_text(f"name: {name}\n{text}\n")
    with outside_options([f"--config-dir={tmp_path}"]):
        found = backbones_by_origin()
        assert sorted(name for names in found.values() for name in names) == list(
            options("backbone")
        )
        text = help_text()
    of = {name: origin for origin, names in found.items() for name in names}
    assert {of[name] for name in of if name.startswith("tiny_")} == {RANDOM}
    own = {name: of[name] for name in ("micro", "mine", "other", "causal_lm")}
    assert own == {"micro": PACKAGE, "mine": FOLDER, "other": OTHER, "causal_lm": ANY}
    assert {of[name] for name in ("minilm", "smollm2_135m", "packed")} == {INDEX}
    assert {of[name] for name in ("llama2_7b", "t5_base", "theirs")} == {HUB}
    assert (
        "once: python scripts/prefetch.py backbone=NAME from=index\n    minilm packed smoll" in text
    )
    assert "before: python scripts/prefetch.py backbone=NAME from=hub\n    falcon_7b" in text


def test_a_sweep_and_an_experiment_of_another_folder(folder):
    with outside_options([f"--config-dir={folder}"]) as others:
        assert others == []
        sweep = sweep_of(["method=mine,lora", "+experiment=small"])
        found = [(one.settings.method.name, one.settings.method.r) for one in sweep]
        assert sorted(found) == [("lora", 2), ("lora", 5), ("mine", 2), ("mine", 5)]
        assert {one.settings.suite for one in sweep} == {"small"}
        assert str(folder) in search_path()[0]


def test_a_command_that_is_written_down_names_the_folder(folder, tmp_path, monkeypatch):
    with outside_options([f"--config-dir={folder}"]):
        assert outside_flags() == [f"--config-dir={folder}"]
        monkeypatch.chdir(tmp_path)
        assert outside_flags() == [f"--config-dir={folder.name}"]
        flags = outside_flags()
    with outside_options(flags):
        assert configuration_of(["method=mine"])["method"]["r"] == 3
    assert outside_flags() == []


def test_two_folders(folder, tmp_path):
    (tmp_path / "other" / "method").mkdir(parents=True)
    (tmp_path / "other" / "method" / "second.yaml").write_text(RENAMED.format(name="second", r=5))
    both = ["--config-dir", str(folder), f"--config-dir={tmp_path / 'other'}"]
    with outside_options(both):
        found = [settings_of([f"method={name}"]).method.r for name in ("mine", "second")]
    assert found == [3, 5]


def test_every_command_takes_the_folder(folder):
    seen = []

    def body(arguments):
        seen.extend([*arguments, "mine" in options("method")])
        return 0

    assert guarded(body, ["a=1", "--config-dir", str(folder), "b=2"]) == 0
    assert seen == ["a=1", "b=2", True]


def test_every_commands_help_names_the_folder(capsys):
    def body(_):
        pytest.fail("help runs nothing")

    assert guarded(body, ["--help"], "What it does.\n") == 0
    first, _, last = capsys.readouterr().out.splitlines()
    assert first == "What it does."
    assert last.startswith("--config-dir DIR adds options and modules of your own: DIR/method/")


@pytest.mark.parametrize(
    ("text", "got"),
    [
        (RENAMED.format(name="lora", r=1), "got 'lora' in"),
        ("defaults: [lora, _self_]\nr: 2\n", "got none in"),
        (RENAMED.format(name=7, r=1), "got 7 in"),
    ],
)
def test_a_yaml_under_the_name_of_another_is_refused(folder, text, got):
    (folder / "method" / "mylora.yaml").write_text(text)
    with outside_options([f"--config-dir={folder}"]):
        for refused in (
            lambda: settings_of(["method=mylora", "method.name=mylora"]),
            lambda: sweep_of(["method=mine,mylora"]),
            lambda: side_by_side("method", ["mine", "mylora"], []),
        ):
            with pytest.raises(
                ConfigError, match=rf"method=mylora must .*{got}.*: write name: mylora"
            ):
                refused()
        assert settings_of(["method=mine", "method.name=typed"]).method.name == "typed"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: half\nr: [1,", r"half\.yaml, line 2, must be YAML, got: expected the node content"),
        ("name: half\n\tr: 1\n", r"half\.yaml, line 2, must be YAML, got: found character '\\t'"),
        ("- name: half\n", "must be a|must fit together"),
    ],
)
def test_a_yaml_that_is_none_is_refused_with_its_line(folder, text, said):
    """A file saved half-way ended every command in a traceback of the parser."""
    (folder / "method" / "half.yaml").write_text(text)
    with outside_options([f"--config-dir={folder}"]):
        for refused in (
            lambda: settings_of(["method=half"]),
            lambda: side_by_side("method", ["mine", "half"], []),
            lambda: option_of("method", "half"),
        ):
            with pytest.raises(ConfigError, match=said):
                refused()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def x(:", r"ends in SyntaxError: invalid syntax \(faulty\w*\.py, line 1\): correct"),
        (
            "\nraise RuntimeError('boom')",
            r"RuntimeError: boom \(.*faulty\w*\.py, line 2\): correct",
        ),
    ],
)
def test_a_module_that_breaks_down_is_refused_with_its_line(folder, text, said):
    (folder / "faulty.py").write_text(text)
    yaml = RENAMED.format(name="faulty", r=3).replace(
        "pedro_bench.methods.lora.Lora", "faulty.Lora"
    )
    (folder / "method" / "faulty.yaml").write_text(yaml)
    with outside_options([f"--config-dir={folder}"]), pytest.raises(ConfigError, match=said):
        settings_of(["method=faulty"])


def test_commands_and_tests_read_the_same_number(folder, monkeypatch):
    file = folder / "method" / "mine.yaml"
    file.write_text(RENAMED.format(name="mine", r=3) + "lr: 1e-2\n")
    monkeypatch.setattr(tiny, "METHODS", file.parent)
    monkeypatch.setattr(tiny, "METHOD_NAMES", ["mine"])
    with outside_options([f"--config-dir={folder}"]):
        assert settings_of(["method=mine"]).method == tiny.build_method("mine")
    assert tiny.build_method("mine").lr == 0.01
    with pytest.raises(ConfigError, match=r"/method/mine\.yaml: method\.r must be"):
        tiny.build_method("mine", r=0)


def test_a_module_that_another_hides_is_refused(folder, tmp_path, monkeypatch):
    hiding = tmp_path / "earlier"
    hiding.mkdir()
    monkeypatch.syspath_prepend(str(hiding))
    for place, name in ((hiding, "hidden_one"), (folder, "hidden_one"), (folder, "calendar")):
        (place / f"{name}.py").write_text("from pedro_bench.methods.lora import Lora\n")
    (folder / "own_one").mkdir()
    (folder / "own_one" / "__init__.py").write_text("from pedro_bench.methods.lora import Lora\n")
    for name in ("hidden_one", "calendar", "own_one"):
        text = RENAMED.format(name=name, r=3)
        text = text.replace("pedro_bench.methods.lora.Lora", f"{name}.Lora")
        (folder / "method" / f"{name}.yaml").write_text(text)
    with outside_options([f"--config-dir={folder}"]):
        with pytest.raises(ConfigError, match=rf"'hidden_one' of .* got '{hiding}/hidden_one.py'"):
            settings_of(["method=hidden_one"])
        with pytest.raises(ConfigError, match=r"'calendar' of .* got '.*calendar.py', which is"):
            settings_of(["method=calendar"])
        assert settings_of(["method=own_one"]).method.name == "own_one"
    assert "hidden_one" not in sys.modules


@pytest.mark.parametrize("group", ["task", "backbone", "data"])
def test_so_is_a_task_a_backbone_and_a_source(folder, group):
    package = {"task": "sst2", "backbone": "micro", "data": "micro"}[group]
    text = (conf_folder() / group / f"{package}.yaml").read_text(encoding="utf-8")
    (folder / group).mkdir()
    (folder / group / "own.yaml").write_text(text, encoding="utf-8")
    with outside_options([f"--config-dir={folder}"]):
        with pytest.raises(ConfigError, match=rf"{group}=own must .* got '{package}' in"):
            settings_of([f"{group}=own"])
        renamed = text.replace(f"name: {package}", "name: own")
        (folder / group / "own.yaml").write_text(renamed, encoding="utf-8")
        assert getattr(settings_of([f"{group}=own"]), group).name == "own"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-dir"], "--config-dir must be followed by a folder, got nothing."),
        (["--config-dir="], "--config-dir must be followed by a folder, got nothing."),
        (["--config-dir", "{}/no"], "--config-dir must be a folder, got '{}/no', where"),
        (["--config-dir", "{}/empty"], "must hold options such as method/<name>.yaml, got none in"),
        (["--config-dir", "{}/taken"], "method=lora must be one file, got another in '{}/taken'"),
        (
            ["--config-dir", "{}/nan"],
            "a name that is read as text, got method/nan.yaml in '{}/nan', since method=nan is read "
            "as a value: rename it.",
        ),
    ],
)
def test_refused(tmp_path, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "taken" / "method").mkdir(parents=True)
    (tmp_path / "taken" / "method" / "lora.yaml").write_text(RENAMED.format(name="lora", r=1))
    (tmp_path / "nan" / "method").mkdir(parents=True)
    (tmp_path / "nan" / "method" / "nan.yaml").write_text(RENAMED.format(name="nan", r=1))
    assert guarded(lambda _: 0, [one.format(tmp_path) for one in arguments]) == 2
    assert message.format(tmp_path) in capsys.readouterr().err
