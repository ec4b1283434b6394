"""What people would keep in step by hand: README, CHANGELOG and the disk."""

import re
import shlex
from pathlib import Path

import pytest

import pedro_bench
from pedro_bench.cli.compose import settings_of, split_extra
from pedro_bench.cli.grids import sweeps_of
from pedro_bench.efficiency.request import DEFAULTS as EFFICIENCY_KEYS
from pedro_bench.instruct.request import DEFAULTS as INSTRUCT_KEYS

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

OWN_KEYS = {
    "efficiency": dict(EFFICIENCY_KEYS),
    "figures": {
        "results_dir": "",
        "figures_dir": "",
        "table": None,
        "suite": None,
        "run": None,
        "output": "text",
    },
    "instruct": dict(INSTRUCT_KEYS),
    "inspect": {"tokens": True, "output": "text"},
    "plan": {},
    "params": {"method": None, "budget": None, "output": "text"},
    "score": {"split": "test", "predictions": None, "output": "text"},
    "tables": {"results_dir": "", "tables_dir": "", "table": None, "suite": None, "output": "text"},
}


def commands():
    """Yield the words after `python -m pedro_bench`, and of `make run ARGS=…`, in code blocks."""
    for block in re.findall(r"```(?:sh|bash)\n(.*?)```", README, flags=re.DOTALL):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:2] == ["python", "-m"] and words[2].startswith("pedro_bench"):
                yield words[2], words[3:]
            if words[:2] == ["make", "run"]:
                yield "pedro_bench", shlex.split(words[2].removeprefix("ARGS="))


COMMANDS = list(commands())


def test_the_readme_has_the_two_commands_of_a_fresh_machine():
    assert ("pedro_bench", ["method=pedro", "task=boolq"]) in COMMANDS
    assert "\nmake test" in README


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_the_readmes_commands_compose(module, arguments):
    name = module.removeprefix("pedro_bench").removeprefix(".cli.")
    if name:
        assert (REPOSITORY / "pedro_bench" / "cli" / f"{name}.py").is_file()
        values, others = split_extra(arguments, OWN_KEYS[name])
        assert set(values) == set(OWN_KEYS[name])
        assert sweeps_of(others) if name == "plan" else settings_of(others)
    elif "-m" in arguments:
        assert sweeps_of([word for word in arguments if word != "-m"])[0].combinations
    else:
        assert settings_of([word for word in arguments if not word.startswith("--")])


def test_the_readmes_verbs_are_in_the_makefile():
    used = set(re.findall(r"^make ([a-z-]+)", README, flags=re.MULTILINE))
    known = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
    assert used <= known
    assert {"install", "run", "test", "check", "tables", "help"} <= known


def test_the_tree_in_the_readme_is_the_tree_on_the_disk():
    package = REPOSITORY / "pedro_bench"
    on_disk = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.name not in ("__init__.py", "py.typed", "__pycache__")
    }
    tree = README.split("pedro_bench/\n", 1)[1].split("```", 1)[0]
    listed = {line.split()[0] for line in tree.splitlines() if line.startswith("  ")}
    assert listed == on_disk


def test_files_named_in_the_documents_exist():
    for document in ("README.md", "CONTRIBUTING.md"):
        text = (REPOSITORY / document).read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (REPOSITORY / target).exists(), f"{document} names {target}"


def test_the_changelog_begins_with_the_packages_version():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[?([0-9.]+)", changelog, flags=re.MULTILINE)
    assert first is not None
    assert first.group(1) == pedro_bench.__version__
