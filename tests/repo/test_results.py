"""What is committed under results/ is what its records give, byte for byte."""

import re
from pathlib import Path

import pytest

from pedro_bench.cli.figures import figures
from pedro_bench.cli.tables import tables

REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "results"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.parametrize(("command", "kind"), [(tables, "tables"), (figures, "figures")])
def test_the_committed_outputs_are_those_of_the_committed_records(command, kind, tmp_path):
    """A difference means: run `make tables figures`, look at what changed, and commit it."""
    made = tmp_path / kind
    command([f"results_dir={RESULTS}", f"{kind}_dir={made}"])
    committed, rebuilt = contents(RESULTS / kind), contents(made)
    assert sorted(committed) == sorted(rebuilt)
    assert [name for name in committed if committed[name] != rebuilt[name]] == []


def test_no_record_names_a_place_of_the_machine_that_made_it():
    for path in (RESULTS / "runs").glob("*/*.json"):
        text = path.read_text(encoding="utf-8")
        assert '"output_dir": "outputs"' in text
        assert '"results_dir": "results"' in text


def test_the_page_of_results_quotes_the_tables_as_they_are():
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")
    quoted = re.findall(r"<!-- quoted: (\S+) -->\n\n(.*?)\n\n<!-- end -->", page, flags=re.DOTALL)
    assert quoted
    for name, block in quoted:
        assert block in (RESULTS / "tables" / name).read_text(encoding="utf-8")
