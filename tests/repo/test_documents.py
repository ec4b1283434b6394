"""What people would keep in step by hand: README, CHANGELOG and the disk."""

import json
import re
import shlex
from pathlib import Path

import pytest

import pedro_bench
from pedro_bench.cli import (
    efficiency,
    export,
    figures,
    inspect,
    instruct,
    pack,
    params,
    plan,
    score,
    tables,
    tune,
)
from pedro_bench.cli.command import guarded, split_flags
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.cli.hydra.sweep import combinations_of
from pedro_bench.cli.options import help_text

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {
    path.name: path.read_text(encoding="utf-8")
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")

OTHER_COMMANDS = (
    efficiency,
    export,
    figures,
    inspect,
    instruct,
    pack,
    params,
    plan,
    score,
    tables,
    tune,
)
OWN_KEYS = {module.__name__.rpartition(".")[2]: dict(module.DEFAULTS) for module in OTHER_COMMANDS}


def commands(text):
    """Yield the words after `python -m pedro_bench`, and of `make run ARGS=…`, in code blocks.

    Blocks are fenced or indented; a line with an ellipsis is no whole command.
    """
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", text, flags=re.DOTALL)
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    blocks += re.findall(r"(?:^ {4}.*\n)+", outside, flags=re.MULTILINE)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            if "…" in line or not re.match(r"\s*([A-Z_]+=\S* )*(python|make) ", line):
                continue
            words = shlex.split(line, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words[:2] == ["python", "-m"] and words[2].startswith("pedro_bench"):
                yield words[2], words[3:]
            if words[:2] == ["make", "run"]:
                yield "pedro_bench", shlex.split(words[2].removeprefix("ARGS="))


COMMANDS = [
    pytest.param(module, arguments, id=f"{name}:{module} {' '.join(arguments)}")
    for name, text in DOCUMENTS.items()
    for module, arguments in commands(text)
    if "--config-dir" not in arguments  # tests/integration/test_outside_method.py runs these
    if module != "pedro_bench.integrations.lm_eval"  # its arguments are the harness's, tested there
]


def test_the_readme_has_the_two_commands_of_a_fresh_machine():
    assert ("pedro_bench", ["method=pedro", "task=boolq"]) in list(commands(README))
    assert "\nmake install" in README


def test_the_readme_fits_a_screen():
    assert len(README.splitlines()) <= 80


def test_most_commands_are_checked_here():
    assert len(COMMANDS) > 30


@pytest.mark.parametrize(("module", "arguments"), COMMANDS)
def test_the_documents_commands_compose(module, arguments):
    name = module.removeprefix("pedro_bench").removeprefix(".cli.")
    if name:
        assert (REPOSITORY / "pedro_bench" / "cli" / f"{name}.py").is_file()
        values, others = split_extra(split_flags(arguments, ("-m",)), OWN_KEYS[name])
        assert set(values) == set(OWN_KEYS[name])
        assert combinations_of(others) if name in ("plan", "tune") else settings_of(others)
    elif "-m" in arguments:
        assert combinations_of([word for word in arguments if word != "-m"])[0]
    else:
        assert settings_of([word for word in arguments if not word.startswith("--")])


@pytest.mark.parametrize("module", OTHER_COMMANDS, ids=lambda module: module.__name__)
def test_every_command_has_help_that_names_its_keys(module):
    """What `guarded` prints is the module's docstring."""
    name = module.__name__.rpartition(".")[2]
    assert f"guarded({name}, sys.argv[1:], __doc__" in Path(module.__file__).read_text()
    assert [key for key in OWN_KEYS[name] if f"{key}=" not in module.__doc__] == []


def test_every_command_stands_above():
    files = (REPOSITORY / "pedro_bench" / "cli").glob("*.py")
    found = {path.stem for path in files if "sys.exit(guarded(" in path.read_text()}
    assert found == set(OWN_KEYS)


def test_the_help_of_the_main_command_lists_every_other_command():
    listed = help_text().split("Other commands", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    assert [line.split()[0] for line in listed] == sorted(OWN_KEYS)


@pytest.fixture
def own_task(tmp_path, monkeypatch):
    """The current folder has the task `topics` of tasks.md, with a few rows."""
    (written,) = re.findall(r"```yaml\n(.*?)```", DOCUMENTS["tasks.md"], flags=re.DOTALL)
    (tmp_path / "mine" / "task").mkdir(parents=True)
    (tmp_path / "mine" / "task" / "topics.yaml").write_text(written)
    (tmp_path / "data" / "topics").mkdir(parents=True)
    for name, count in (("train", 20), ("validation", 10)):
        rows = [{"text": f"{name} {i}", "label": ("sport", "music")[i % 2]} for i in range(count)]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "data" / "topics" / f"{name}.jsonl").write_text(text)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own_task")
def test_the_study_of_ones_own_in_the_documents_is_planned(capsys):
    (written,) = re.findall(r"```yaml\n(.*?)```", DOCUMENTS["tutorial.md"], flags=re.DOTALL)
    for name, text in (
        ("experiment", written),
        ("rates", "[{for: {}, set: {trainer.lr: 1.0e-3}}]\n"),
    ):
        Path("mine", name).mkdir()
        Path("mine", name, "topics.yaml").write_text(text)
    own = [
        found for found in commands(DOCUMENTS["tutorial.md"]) if "+experiment=topics" in found[1]
    ]
    assert [name for name, _ in own] == [
        f"pedro_bench{name}" for name in (".cli.tune", ".cli.plan", "")
    ]
    typed = [word for word in own[0][1] if word not in ("--config-dir", "mine")]
    values, _ = split_extra(typed, tune.DEFAULTS)
    assert (values["rates"], values["rates_dir"]) == ("topics", "mine/rates")
    assert guarded(plan.plan, [*own[1][1], "device=cpu", "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["runs"], found["missing"], len(found["jobs"])) == (15, 15, 3)


@pytest.mark.usefixtures("own_task")
def test_the_task_of_ones_own_in_the_documents_works(capsys):
    page = DOCUMENTS["tasks.md"]
    (command,) = re.findall(r"^ +python -m pedro_bench.cli.inspect (.*)$", page, flags=re.MULTILINE)
    assert guarded(inspect.inspect, [*shlex.split(command), "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found["splits"][name]["rows"] for name in ("train", "dev", "test")] == [20, 5, 5]


def test_the_documents_verbs_are_in_the_makefile():
    used = {
        verb
        for text in DOCUMENTS.values()
        for verb in re.findall(r"(?:^ *|`)make ([a-z-]+)", text, flags=re.MULTILINE)
    }
    known = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, flags=re.MULTILINE))
    assert used <= known
    assert {"install", "run", "test", "check", "tables", "site", "help"} <= known


def test_the_tree_in_the_documents_is_the_tree_on_the_disk():
    package = REPOSITORY / "pedro_bench"
    on_disk = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in package.iterdir()
        if path.name not in ("__init__.py", "py.typed", "__pycache__")
    }
    tree = DOCUMENTS["layout.md"].split("pedro_bench/\n", 1)[1].split("```", 1)[0]
    listed = {line.split()[0] for line in tree.splitlines() if line.startswith("  ")}
    assert listed == on_disk


def test_files_named_in_the_documents_exist():
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for name, text in (DOCUMENTS | {"CONTRIBUTING.md": contributing}).items():
        folder = REPOSITORY if name.removesuffix(".md").isupper() else REPOSITORY / "docs"
        for target in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (folder / target).exists(), f"{name} names {target}"


def test_tests_named_in_the_documents_exist():
    defined = {
        (path.name, function)
        for path in REPOSITORY.glob("tests/**/test_*.py")
        for function in re.findall(r"def (test_\w+)\(", path.read_text(encoding="utf-8"))
    }
    named = {
        pair
        for text in DOCUMENTS.values()
        for pair in re.findall(r"(test_\w+\.py)::(test_\w+)", text)
    }
    assert len(named) > 40
    assert not named - defined


def test_the_changelog_begins_with_the_packages_version():
    changelog = (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
    first = re.search(r"^## \[?([0-9.]+)", changelog, flags=re.MULTILINE)
    assert first is not None
    assert first.group(1) == pedro_bench.__version__
