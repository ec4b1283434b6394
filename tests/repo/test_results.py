"""What is committed under results/ is what its records give, byte for byte.

Runs of one's own in `results/runs` are left out as long as no tables were made of them.
"""

import re
from pathlib import Path

import pytest

from pedro_bench.cli.figures import figures
from pedro_bench.cli.tables import tables

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"


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


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("command", "kind"), [(tables, "tables"), (figures, "figures")])
def test_the_committed_outputs_are_those_of_the_committed_records(command, kind, results, tmp_path):
    """A difference means: run `make tables figures`, look at what changed, and commit it."""
    made = tmp_path / kind
    command([f"results_dir={results}", f"{kind}_dir={made}"])
    committed, rebuilt = contents(RESULTS / kind), contents(made)
    assert sorted(committed) == sorted(rebuilt)
    assert [name for name in committed if committed[name] != rebuilt[name]] == []


def test_no_record_names_a_place_of_the_machine_that_made_it(results):
    assert len(SUITES) >= 3
    for path in results.glob("runs/*/*.json"):
        text = path.read_text(encoding="utf-8")
        assert '"output_dir": "outputs"' in text
        assert '"results_dir": "results"' in text


def test_the_page_of_results_quotes_the_tables_as_they_are():
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    quoted = re.findall(r"<!-- quoted: (\S+) -->\n\n(.*?)\n\n<!-- end -->", page, flags=re.DOTALL)
    assert quoted
    for name, block in quoted:
        assert block in (RESULTS / "tables" / name).read_text(encoding="utf-8")
