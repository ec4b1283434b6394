"""The commands as a user types them, end to end on a few rows of the embedded backbone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
FAST = ["data=files", "trainer.max_steps=2", "trainer.eval_every_steps=1", "evaluation.num_beams=1"]


WITHOUT_TORCH = """
import sys
from pedro_bench.__main__ import main
code = main(sys.argv[1:])
sys.exit("torch was imported" if "torch" in sys.modules else code)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a tiny sst2 in JSONL: 40 rows to train on, 20 to validate."""
    folder = tmp_path_factory.mktemp("data") / "sst2"
    folder.mkdir()
    for name, count in (("train", 40), ("validation", 20)):
        rows = [
            {"sentence": f"a {'good' if i % 2 else 'bad'} film , {name} {i}", "label": i % 2}
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


@pytest.fixture
def call(tmp_path, data):
    """A function that runs `python …` in an empty folder."""

    def run(*arguments):
        environment = {
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        }
        return subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env=environment,
        )

    def train(*arguments):
        return run("-m", "pedro_bench", "task=sst2", f"data.root={data}", *FAST, *arguments)

    def without_torch(*arguments):
        done = run("-c", WITHOUT_TORCH, "task=sst2", f"data.root={data}", *FAST, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    run.train, run.without_torch = train, without_torch
    return run


@pytest.mark.timeout(300)
def test_a_run_its_repetition_and_its_table(call, tmp_path):
    first = call.train("method=lora", "seeds=[0,1]", "output=json")
    assert first.returncode == 0, first.stderr
    found = json.loads(first.stdout)
    assert [run["seed"] for run in found["runs"]] == [0, 1]
    assert {run["status"] for run in found["runs"]} == {"finished"}
    assert set(found["median"]) == set(found["runs"][0]["metrics"]["test"])
    again = call.without_torch("method=lora", "seeds=[0,1]", "output=json")
    assert json.loads(again.stdout) == found
    grid = call.without_torch("-m", "method=lora", "seeds=[0,1]", "output=json")
    assert json.loads(grid.stdout)["jobs"][0]["runs"] == found["runs"]
    shown = call.train("method=lora", "seeds=[0,1]")
    assert "median" in shown.stdout
    made = call("-m", "pedro_bench.cli.tables", "output=json")
    assert json.loads(made.stdout)["tables"][0] == "results/tables/main--micro--files.tex"
    assert "(n=2)" in (tmp_path / "results/tables/main--micro--files.md").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outputs", "results"]


@pytest.mark.timeout(300)
def test_a_failing_job_stops_no_other_and_is_told_at_the_end(call, tmp_path):
    arguments = ["-m", "method=lora", "trainer.lr=1e30,1e-3", "seeds=[0]"]
    done = call.train(*arguments, "output=json")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["finished"], found["failed"]) == (1, 1)
    broken, well = found["jobs"]
    assert broken["overrides"] == ["trainer.lr=1e+30"]
    assert broken["status"] == broken["runs"][0]["status"] == "failed"
    assert broken["errors"] == [f"seed 0: {broken['runs'][0]['error']}"]
    assert (well["status"], well["errors"]) == ("finished", [])
    assert len(well["runs"]) == 1
    shown = call.train(*arguments)
    assert "2 jobs, 1 failed." in shown.stdout
    assert f"failed: trainer.lr=1e+30: {broken['errors'][0]}" in shown.stdout


def test_bad_input_in_any_combination_is_found_before_the_first_job(call, tmp_path):
    done = call.train("-m", "method=lora", "method.r=4,0")
    assert done.returncode == 2
    assert done.stderr == (
        "error: method.r must be a whole number of at least 1, got 0. "
        "(in the combination method.r=0)\n"
    )
    absent = call(
        "-m", "pedro_bench", "-m", "task=sst2,boolq", "data=files", f"data.root={tmp_path}"
    )
    assert absent.returncode == 2
    assert absent.stderr.startswith("error: ")
    assert absent.stderr.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == []
