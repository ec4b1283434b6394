"""Rows that a table should have: those of sizes nobody has run are named as missing."""

from pathlib import Path

import pytest

from pedro_bench.analysis.papers import layouts
from pedro_bench.reporting.captions import missing
from tests.tiny import read_yaml
from tests.unit.analysis.runs import five, only

CONF = Path(__file__).resolve().parents[3] / "conf" / "experiment"
PLACES = {"suite": "figure3", "backbone": "llama2_7b", "data": "hub"}


def test_absent_sizes_are_named_and_rows_stand_in_order_of_size(tmp_path):
    for r in (96, 6, 24):
        five(tmp_path, "pedro", r=r, **PLACES)
    five(tmp_path, "lora", r=16, groups={"method": {"alpha": 32}}, **PLACES)
    five(tmp_path, "lora", r=5, groups={"method": {"alpha": 10}}, **PLACES)
    table = only(tmp_path)
    names = [line.name for line in table.sections[0].lines]
    assert names[:7] == [f"pedro [r={r}]" for r in (3, 6, 12, 24, 48, 96, 192)]
    sizes = (1, 2, 4, 8, 16, 32, 64, 5)  # what the table does not know comes last
    assert names[7:15] == [f"lora [alpha={2 * r}, r={r}]" for r in sizes]
    assert names[15:] == [f"ia3 [r={r}]" for r in (4, 8, 16, 32, 64, 128, 256)]
    assert {"pedro [r=3] on boolq", "pedro [r=3] on squad"} <= set(missing(table))
    assert "pedro [r=6] on boolq" not in missing(table)
    assert "pedro [r=6] on squad" in missing(table)
    assert len(missing(table)) == 2 * 22 - 5


def test_a_single_size_is_named_too(tmp_path):
    five(tmp_path, "ia3", r=16, **PLACES)
    table = only(tmp_path)
    having = [line for line in table.sections[0].lines if line.cells[0].shown]
    assert [(line.name, line.label) for line in having] == [("ia3 [r=16]", "(IA)$^3$")]


@pytest.mark.parametrize("name", ["figure3", "micro_figure3"])
def test_sizes_are_those_of_the_experiment(name):
    parts = read_yaml(CONF / f"{name}.yaml")["grid"]["parts"]
    planned = {}
    for part in parts:
        settings = {key.removeprefix("method."): str(value) for key, value in part.items()}
        method = settings.pop("method")
        settings.pop("lr", None)  # of a whole method, not a size
        for r in settings.pop("r").split(","):
            size = tuple(f"{key}={value}" for key, value in sorted({**settings, "r": r}.items()))
            planned.setdefault(method, []).append(size)
    assert {method: list(own) for method, own in layouts()["figure3"].sizes.items()} == planned
