"""The notebooks run from top to bottom on tiny data; `make notebooks` calls this."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.analysis.runs import five

REPOSITORY = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))

EXECUTE = """
import sys
import nbclient, nbformat
notebook = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
nbformat.write(notebook, sys.argv[2])
"""
TRAIN = [
    "method=pedro",
    "task=sst2",
    "data=files",
    "seeds=[0]",
    "trainer.max_steps=2",
    "output=json",
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Results of two methods, and one finished run of PEDRO after two steps."""
    folder = tmp_path_factory.mktemp("notebooks")
    five(folder / "results", examples=[100.0, 0.0, 100.0])
    five(folder / "results", "lora", score=70.0, examples=[0.0, 0.0, 100.0])
    (folder / "sst2").mkdir()
    for name, count in (("train", 40), ("validation", 20)):
        rows = [{"sentence": f"a film {name} {i}", "label": i % 2} for i in range(count)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / "sst2" / f"{name}.jsonl").write_text(lines)
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    variables["PEDRO_BENCH_RESULTS"] = str(folder / "results")
    command = [sys.executable, "-m", "pedro_bench", *TRAIN, f"data.root={folder}"]
    subprocess.run(command, check=True, cwd=folder, env=variables, capture_output=True)
    (record,) = (folder / "results" / "runs" / "main").glob("pedro--sst2--*.json")
    variables["PEDRO_BENCH_RUN"] = str(record)
    return variables


def test_notebooks_are_kept_without_outputs():
    assert [path.stem for path in NOTEBOOKS] == [
        "comparing_two_methods", "inside_pedro", "reading_results",
    ]  # fmt: skip
    for path in NOTEBOOKS:
        cells = json.loads(path.read_text())["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
        assert not any(line.startswith(("def ", "class ")) for c in code for line in c["source"])


@pytest.mark.timeout(600)
@pytest.mark.skipif(
    importlib.util.find_spec("nbclient") is None or importlib.util.find_spec("ipykernel") is None,
    reason="needs the extra notebooks: pip install -e '.[notebooks]'",
)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, environment, tmp_path):
    made = tmp_path / path.name
    command = [sys.executable, "-c", EXECUTE, str(path), str(made)]
    done = subprocess.run(
        command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    cells = [cell for cell in json.loads(made.read_text())["cells"] if cell["cell_type"] == "code"]
    assert cells[-1]["outputs"]
