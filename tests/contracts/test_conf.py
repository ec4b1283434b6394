"""Every YAML composes and builds, has its module, and refuses a key that nobody reads."""

import ast
import itertools
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from pedro_bench.cli.hydra.compose import configuration_of, settings_of
from pedro_bench.cli.hydra.sweep import sweep_of
from pedro_bench.cli.options import conf_folder, groups, options
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import GROUPS, build_group

REPOSITORY = Path(__file__).resolve().parents[2]
YAMLS = [(group, option) for group in GROUPS for option in options(group)]

REQUIRED = {"files": ["data.root=data"]}
"""What an option cannot be built without."""


@cache
def composed(group, option):
    return configuration_of([f"{group}={option}", *REQUIRED.get(option, [])])[group]


def test_every_group_has_options_and_every_folder_is_a_group():
    assert set(GROUPS) <= set(groups())
    assert all(options(group) for group in GROUPS)


def test_no_yaml_is_left_out():
    found = {
        str(path.relative_to(conf_folder()).with_suffix(""))
        for path in conf_folder().rglob("*.yaml")
    }
    listed = {f"{group}/{option}" for group in groups() for option in options(group)}
    rates = {name for name in found if name.startswith("rates/")}  # lists of choices: test_rates.py
    assert found == listed | {"config", "worker"} | rates


@pytest.mark.parametrize(("group", "option"), YAMLS)
def test_a_yaml_builds_an_object_of_its_own_name(group, option):
    assert build_group(group, composed(group, option)).name == option


@pytest.mark.parametrize(("group", "option"), YAMLS)
def test_an_unknown_key_is_refused(group, option):
    with pytest.raises(ConfigError, match=rf"{group}\.speling must be a known key, got 'speling'"):
        build_group(group, {**composed(group, option), "speling": 1})


def test_every_method_module_has_a_yaml_and_every_yaml_a_module():
    folder = REPOSITORY / "pedro_bench" / "methods"
    modules = {path.stem for path in folder.iterdir() if not path.name.startswith("__")}
    targets = {composed("method", option)["_target_"] for option in options("method")}
    assert {target.split(".")[-2] for target in targets} == modules
    assert {target.rpartition(".")[0].rpartition(".")[0] for target in targets} == {
        "pedro_bench.methods"
    }


def test_every_triple_of_method_task_and_backbone_composes():
    triples = itertools.product(options("method"), options("task"), options("backbone"))
    for method, task, backbone in triples:
        names = [
            build_group(group, composed(group, option)).name
            for group, option in (("method", method), ("task", task), ("backbone", backbone))
        ]
        assert names == [method, task, backbone]


def test_a_sweep_over_all_methods_composes_in_order():
    sweep = sweep_of(["task=squad", f"method={','.join(options('method'))}"])
    assert [one.settings.method.name for one in sweep] == list(options("method"))


def test_the_default_needs_nothing_but_the_install():
    settings = settings_of([])
    chosen = (settings.backbone.name, settings.data.name, settings.trainer.name)
    assert chosen == ("micro", "micro", "micro")


def imported(module):
    """Return the modules that a module imports at its top."""
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    names = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_no_backbone_family_imports_another():
    # Not an import contract, since a family may have helpers beside it; families have a YAML.
    targets = {composed("backbone", option)["_target_"] for option in options("backbone")}
    families = {target.rpartition(".")[0] for target in targets}
    for family in families:
        assert not imported(import_module(family)) & (families - {family})


@pytest.mark.parametrize(("group", "option"), YAMLS)
def test_configuration_classes_import_nothing_heavy(group, option):
    # Imports at the top of the module; those within functions cost nothing until they are needed.
    module = import_module(composed(group, option)["_target_"].rpartition(".")[0])
    heavy = {"torch", "transformers", "datasets", "accelerate", "numpy", "pandas"}
    assert not {name.partition(".")[0] for name in imported(module)} & heavy
