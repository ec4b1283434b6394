"""Security: nothing is unpickled or trusted, no name leaves its folder, no secret is written."""

import ast
import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest

from pedro_bench.training.saved_folder import (
    MANIFEST,
    DamagedFolderError,
    Saved,
    read_folder,
    write_folder,
)
from tests.integration.grids import REPOSITORY, arguments, finish, start, write_sst2

SOURCES = sorted(
    [*(REPOSITORY / "pedro_bench").rglob("*.py"), *(REPOSITORY / "scripts").rglob("*.py")]
)
UNPICKLERS = {
    "pickle",
    "cPickle",
    "dill",
    "cloudpickle",
    "joblib",
    "shelve",
    "marshal",
    "jsonpickle",
}
FORBIDDEN_CALLS = {"torch.load", "eval", "exec", "os.system", "pandas.read_pickle", "yaml.load"}
FORBIDDEN_VALUES = {
    "trust_remote_code": True,
    "allow_pickle": True,
    "weights_only": False,
    "shell": True,
}
SECRETS = {
    "HF_TOKEN": "hf_" + "secretsecretsecret1",
    "WANDB_API_KEY": "wandbsecretsecretsecretsecretsecretsec2",
    "OPENAI_API_KEY": "sk-" + "secretsecretsecret3",
}


def sins(source: str) -> list[str]:
    """Return what a module does that could run code which came as data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [one.name for one in node.names if one.name.split(".")[0] in UNPICKLERS]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in UNPICKLERS:
            found.append(str(node.module))
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            found += [name] if name in FORBIDDEN_CALLS else []
            for word in node.keywords:
                if word.arg in FORBIDDEN_VALUES:
                    wrong = FORBIDDEN_VALUES[word.arg]
                    is_safe = isinstance(word.value, ast.Constant) and word.value.value is not wrong
                    found += [] if is_safe else [ast.unparse(word)]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_no_module_unpickles_or_trusts_remote_code(path: Path) -> None:
    assert sins(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from dill import loads",
        "torch.load(path)",
        "load(path, trust_remote_code=True)",
        "load(path, trust_remote_code=trusts)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_the_search_finds(line: str) -> None:
    assert sins(line)


@pytest.mark.parametrize("name", ["../other/state.json", "/etc/passwd", "a/b"])
def test_a_manifest_cannot_name_files_elsewhere(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "saved", Saved({}, {}, {}))
    body = json.loads((tmp_path / "saved" / MANIFEST).read_text())["body"]
    body["files"][name] = "0" * 64
    digest = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
    (tmp_path / "saved" / MANIFEST).write_text(json.dumps({"body": body, "sha256": digest}))
    with pytest.raises(DamagedFolderError, match="lies in another folder"):
        read_folder(tmp_path / "saved")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("tracking", "ending"), [("tensorboard", "tfevents"), ("wandb", ".wandb")])
def test_no_secret_is_written_or_printed(
    tracking: str, ending: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    secrets = {**SECRETS, "WANDB_MODE": "offline"}
    run = start(tmp_path, *overrides, f"tracking={tracking}", **secrets)
    code, output, errors = finish(run)
    assert code == 0, errors
    assert "is off for the rest" not in errors
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(ending in path.name for path in written)
    for secret in SECRETS.values():
        assert secret not in output + errors
        for path in written:
            assert secret.encode() not in path.read_bytes(), path


def test_every_dependency_has_its_reason_in_the_document_and_its_version_pinned() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    text = (REPOSITORY / "docs" / "security.md").read_text()
    pinned = (REPOSITORY / "constraints.txt").read_text().lower().replace("_", "-")
    names = {re.split(r"[<>=\[ ]", one)[0] for one in project["dependencies"]}
    for name in names:
        assert f"| `{name}` |" in text, name
        assert re.search(rf"^{name.lower().replace('_', '-')}==", pinned, re.MULTILINE), name
