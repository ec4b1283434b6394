"""The methods of docs/adding_a_method.md: two files each in a folder of their own, and everything works."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.settings import build_group
from tests.unit.serving.decoding import check_mixed_tenants

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
SERVING = (REPOSITORY / "docs" / "serving.md").read_text(encoding="utf-8")
FAST = [
    "task=sst2",
    "data=files",
    "data.root=data",
    "trainer.max_steps=2",
    "trainer.eval_every_steps=1",
    "evaluation.num_beams=1",
    "seeds=[0]",
    "output=json",
]

WITHOUT_TORCH = """
import sys
from pedro_bench.cli.command import guarded
from pedro_bench.cli.params import params
code = guarded(params, sys.argv[1:])
sys.exit("torch was imported" if "torch" in sys.modules else code)
"""


KEYSCALE = "_target_: keyscale.KeyScale\nname: keyscale\nlabel: KeyScale\nr: 8\n"


def block(language, words, page=PAGE):
    """The page's only code block in a language that has these words."""
    blocks = re.findall(rf"```{language}\n(.*?)```", page, flags=re.DOTALL)
    (found,) = (one for one in blocks if words in one)
    return found


@pytest.fixture
def mine(tmp_path):
    """The page's folder, in an empty folder."""
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True)
    (folder / "toy.py").write_text(block("python", "class Toy"), encoding="utf-8")
    (folder / "method" / "toy.yaml").write_text(block("yaml", "toy.Toy"), encoding="utf-8")
    return folder


@pytest.fixture
def reads_prompts(mine):
    """The same folder with the page's second method, which serves tenants as the page on serving says."""
    assert all(f"`{line}`" in " ".join(PAGE.split()) for line in KEYSCALE.splitlines())
    (mine / "keyscale.py").write_text(
        block("python", "class KeyScale")
        + "\n\n"
        + block("python", "class TenantKeyVector", SERVING),
        encoding="utf-8",
    )
    (mine / "method" / "keyscale.yaml").write_text(KEYSCALE, encoding="utf-8")
    return mine


def call(folder, *arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            **environment,
        },
    )


@pytest.fixture
def command(mine, tmp_path):
    """What trains the page's method for two steps on a few rows, after `python`."""
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    for name, count in (("train", 40), ("validation", 10)):
        rows = [{"sentence": f"a film , {name} {i}", "label": i % 2} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ["-m", "pedro_bench", "--config-dir", "mine", "method=toy", *FAST]


@pytest.mark.timeout(300)
def test_it_trains_by_the_command_line_and_another_version_is_another_run(command, mine, tmp_path):
    first = call(tmp_path, *command)
    assert first.returncode == 0, first.stderr
    (run,) = json.loads(first.stdout)["runs"]
    assert (run["status"], run["method"]) == ("finished", "toy")
    assert run["config"]["method"]["_target_"] == "toy.Toy"
    module = mine / "toy.py"
    text = module.read_text()
    module.write_text(text + "\n# a comment\n")
    assert json.loads(call(tmp_path, *command).stdout)["runs"] == [run]
    module.write_text(
        re.sub(
            r"(\nclass Toy.*?\n    )(\w+: )", r"\1version = 2\n    \2", text, count=1, flags=re.S
        )
    )
    grid = call(tmp_path, *command, "-m")
    assert grid.returncode == 0, grid.stderr
    (job,) = json.loads(grid.stdout)["jobs"]
    assert (job["status"], job["errors"]) == ("finished", [])
    assert job["runs"][0]["key"] != run["key"]


@pytest.mark.timeout(300)
def test_its_finished_run_is_found_again_and_loads(command, mine, tmp_path):
    (run,) = json.loads(call(tmp_path, *command).stdout)["runs"]
    assert json.loads(call(tmp_path, *command).stdout)["runs"] == [run]
    loaded = call(
        tmp_path,
        "-c",
        "import glob, pedro_bench;"
        "(record,) = glob.glob('results/runs/main/*.json');"
        "print(len(pedro_bench.load(record).generate(['Review: a good film'], max_new_tokens=2)))",
        PYTHONPATH=f"{REPOSITORY}{os.pathsep}{mine}",
    )
    assert loaded.stdout == "1\n", loaded.stderr


def test_it_is_counted_beside_the_others_without_torch(mine, tmp_path):
    asked = ["--config-dir", "mine", "backbone=llama2_7b", "output=json"]
    done = call(tmp_path, "-c", WITHOUT_TORCH, *asked)
    assert done.returncode == 0, done.stderr
    rows = {row["method"]: row for row in json.loads(done.stdout)["methods"]}
    assert (rows["toy"]["matrices"], rows["toy"]["trainable"]) == (262_144, 262_208)
    assert "lora" in rows
    sized = call(tmp_path, "-c", WITHOUT_TORCH, *asked, "method=toy", "method.budget=8.9e6")
    assert json.loads(sized.stdout)["methods"][0]["size"] == {"field": "r", "value": 68}


def test_a_method_that_does_not_fit_the_backbone_hides_no_other(mine, tmp_path):
    module = mine / "toy.py"
    module.write_text(
        module.read_text().replace("shape.each((self.role,))", "shape.each(('nose',))")
    )
    asked = ["--config-dir", "mine", "output=json"]
    found = json.loads(call(tmp_path, "-c", WITHOUT_TORCH, *asked).stdout)
    assert "toy" not in {row["method"] for row in found["methods"]}
    (note,) = [note for note in found["notes"] if note.startswith("toy does not fit: ")]
    assert "got 'nose'" in note
    named = call(tmp_path, "-c", WITHOUT_TORCH, *asked, "method=toy")
    assert named.returncode == 2
    assert "got 'nose'" in named.stderr


def test_the_method_that_reads_the_prompt_serves_each_tenant_as_alone(
    reads_prompts, monkeypatch, load_tiny
):
    """One prompt after another with its own adapter, and all of them mixed."""
    monkeypatch.syspath_prepend(str(reads_prompts))
    monkeypatch.delitem(sys.modules, "keyscale", raising=False)
    method = build_group("method", yaml.safe_load(KEYSCALE))
    backbone = load_tiny()

    def adapted_of(seed):
        torch.manual_seed(seed)
        adapted = AdaptedModel(backbone, method).eval()
        with torch.no_grad():
            for parameter in adapted.adapter.parameters():
                parameter.normal_()
        return adapted

    check_mixed_tenants(backbone, method, adapted_of, num_beams=2)


def test_the_comparison_with_peft():
    """As it is written; the last lines are its assertions."""
    names = {}
    torch.manual_seed(0)
    exec(compile(block("python", "peft.LoraConfig"), "docs/adding_a_method.md", "exec"), names)
    assert names["found"].shape == (2, 9, 64)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_rate_is_searched_by_the_pages_command(mine, tmp_path):
    (written,) = re.findall(r"^python (-m pedro_bench\.cli\.tune .*)$", PAGE, flags=re.MULTILINE)
    assert " trials=7 " in written
    few = ["trainer.max_steps=5", "trainer.eval_every_steps=5", "evaluation.num_beams=1"]
    command = [*written.replace("trials=7", "trials=2").split(), *few, "seeds=[0]", "workers=1"]
    done = call(tmp_path, *command)
    assert done.returncode == 0, done.stderr
    text = (mine / "rates" / "mine.yaml").read_text()
    assert "pedro_bench.cli.tune --config-dir=mine method=toy task=boolq trials=2" in text
    (rule,) = yaml.safe_load(text)
    assert rule["for"] == {"backbone": "micro", "method": "toy"}
    asked = ["--config-dir", "mine", "method=toy", "task=boolq", "trainer.rates=mine", "--cfg"]
    shown = call(tmp_path, "-m", "pedro_bench", *asked)
    assert f'"lr": {rule["set"]["method.lr"]},' in shown.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_they_pass_the_contracts(reads_prompts):
    done = call(
        REPOSITORY,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"),
        "tests/contracts/test_methods.py",
        "tests/contracts/test_counts.py",
        PEDRO_BENCH_CONFIG_DIR=str(reads_prompts),
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed.group(1)) > 40
    assert "skipped" not in done.stdout
