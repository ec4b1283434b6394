"""What is committed under results/ holds what its records give.

Runs of one's own in `results/runs` are left out as long as no tables were made of them.
"""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from pedro_bench import records
from pedro_bench.cli.figures import figures
from pedro_bench.cli.tables import PAGE, tables

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"


pytestmark = pytest.mark.timeout(600)  # everything is rendered and drawn anew

SUITES = sorted({path.name.split("--")[0] for path in (RESULTS / "tables").glob("*.csv")})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of results with the suites alone that tables are committed of."""
    folder = tmp_path_factory.mktemp("committed")
    (folder / "runs").mkdir()
    for suite in SUITES:
        (folder / "runs" / suite).symlink_to(RESULTS / "runs" / suite)
    for other in RESULTS.iterdir():
        if other.name not in ("runs", "tables", "figures"):
            (folder / other.name).symlink_to(other)
    return folder


@pytest.fixture(scope="module")
def rebuilt(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables and figures made anew."""
    folder = tmp_path_factory.mktemp("rebuilt")
    tables([f"results_dir={results}", f"tables_dir={folder / 'tables'}"])
    figures([f"results_dir={results}", f"figures_dir={folder / 'figures'}"])
    return folder


@pytest.mark.parametrize("kind", ["tables", "figures"])
def test_the_committed_outputs_are_those_of_the_committed_records(kind, rebuilt):
    """A difference means: run `make tables figures`, look at what changed, and commit it."""
    names = sorted(path.name for path in (RESULTS / kind).iterdir())
    assert names == sorted(path.name for path in (rebuilt / kind).iterdir())
    for name in names:
        made, committed = rebuilt / kind / name, RESULTS / kind / name
        if name.endswith(".csv"):
            pd.testing.assert_frame_equal(pd.read_csv(made), pd.read_csv(committed), rtol=1e-8)
        elif name.endswith((".md", ".tex")):
            assert made.read_text(encoding="utf-8") == committed.read_text(encoding="utf-8")


def test_the_committed_page_holds_the_cells_of_the_committed_records(results, rebuilt):
    pages = [
        (folder / "tables" / PAGE).read_text(encoding="utf-8").replace(f"{results}/", "results/")
        for folder in (RESULTS, rebuilt)
    ]
    shown, made = (re.findall(r'data-(?:value|trace)="[^"]*"', page) for page in pages)
    assert len(made) > 300
    assert shown == made


def test_no_record_names_a_place_of_the_machine_that_made_it(results):
    assert len(SUITES) >= 3
    found = [records.read(path) for path in records.find(results)]
    assert len(found) >= 675
    for record in found:
        if not record.is_measurement:
            assert record.config["output_dir"] == "outputs"
            assert record.config["results_dir"] == "results"
        assert "/work/" not in json.dumps(record.as_dict())


@pytest.mark.parametrize("name", ["results", "micro_study"])
def test_the_pages_of_results_quote_the_tables_as_they_are(name):
    page = (REPOSITORY / "docs" / f"{name}.md").read_text(encoding="utf-8")
    quoted = re.findall(r"<!-- quoted: (\S+) -->\n\n(.*?)\n\n<!-- end -->", page, flags=re.DOTALL)
    assert quoted
    for name, block in quoted:
        assert block in (RESULTS / "tables" / name).read_text(encoding="utf-8")


def test_the_targets_of_a_gpu_tell_its_measurements():
    ratios = json.loads((RESULTS / "gpu.json").read_text(encoding="utf-8"))["ratios"]
    page = (REPOSITORY / "docs" / "performance.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| GPU: .*\n(?:\| the same .*\n)?", page, flags=re.MULTILINE)
    told = {float(number) for number in re.findall(r"\d+\.\d\d\b", "".join(rows))}
    for name, ratio in ratios.items():
        is_share = name.endswith("limit")
        assert (f"{ratio:.0%}" in "".join(rows)) if is_share else round(ratio, 2) in told, name


def test_the_readmes_table_holds_the_numbers_of_its_records():
    """Method, trained parameters, median and interval, of the CSV and the task that a comment names."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    (found,) = re.findall(
        r"<!-- checked against results/tables by \S+: (\S+) task=(\S+) -->\n\n(.*?)\n\n",
        readme,
        re.DOTALL,
    )
    name, task, block = found
    frame = pd.read_csv(RESULTS / "tables" / name)
    frame = frame[frame.task == task].set_index("label")
    rows = [line.strip("| ").split(" | ") for line in block.splitlines()[2:]]
    assert len(rows) >= 3
    for label, trained, median, interval in rows:
        row = frame.loc[label]
        assert median == f"{row['median']:.2f}"
        assert interval == f"{row.interval_low:.2f} – {row.interval_high:.2f}"
        scale = {"K": 1e3, "M": 1e6}[trained[-1]]
        assert trained == f"{row.trainable / scale:.1f}{trained[-1]}"
