"""Two methods of one printed name stay apart wherever rows are shown, drawn or filtered."""

import re

import pytest

from pedro_bench.reporting.blocks import blocks
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.curves import task_curves
from pedro_bench.reporting.drawing import house_style
from pedro_bench.reporting.figures import budget_figure
from pedro_bench.reporting.labels import distinct, told_apart
from pedro_bench.reporting.latex import latex
from pedro_bench.reporting.load import load
from pedro_bench.reporting.page import page
from pedro_bench.reporting.points import by_parameters, points
from tests.unit.reporting.runs import five

HISTORY = [{"step": step, "dev_loss": 1 / step} for step in (1, 2, 4)]


@pytest.fixture
def report(tmp_path):
    """Two methods printed `LoRA`, each at two sizes, and one of another name."""
    for method, score in (("lora", 70.0), ("lora_red", 60.0), ("pedro", 80.0)):
        label = {"label": "PEDRO" if method == "pedro" else "LoRA"}
        for r in (4, 8):
            five(
                tmp_path, method, score=score, r=r, history=HISTORY,
                parameters={"matrices": 1000 * r}, groups={"method": label},
            )  # fmt: skip
    (report,) = reports(load(tmp_path))
    return report


def test_names_are_told_apart_only_where_they_collide(report):
    (section,) = report.sections
    labels = {line.method: line.label for line in told_apart(section).lines}
    assert labels == {
        "lora": "LoRA [lora]", "lora_red": r"LoRA [lora\_red]", "pedro": "PEDRO",
    }  # fmt: skip
    assert told_apart(told_apart(section)) == told_apart(section)
    assert distinct({"a": "A", "b": "B"}) == {"a": "A", "b": "B"}


def test_every_row_has_a_name_of_its_own_and_its_method(report):
    shown = blocks(report)
    names = [row.cells[0].plain for row in shown[0].rows]
    assert names == [
        f"{label} (r={r})" for label in ("LoRA [lora]", "LoRA [lora_red]", "PEDRO") for r in (4, 8)
    ]
    for block in shown:
        assert {row.method for row in block.rows} == {"lora", "lora_red", "pedro"}
    assert r"LoRA [lora\_red] (r=8)" in latex(report)


def test_points_and_lines_are_those_of_methods(report):
    (section,) = report.sections
    groups = by_parameters(points(section, 0))
    assert {method: [one.median for one in own] for method, own in groups.items()} == {
        "lora": [70, 70], "lora_red": [60, 60], "pedro": [80, 80],
    }  # fmt: skip
    with house_style():
        figure = budget_figure(report, section)
    drawn = {one.get_label() for one in figure.axes[0].containers}
    assert drawn == {"LoRA [lora]", "LoRA [lora_red]", "PEDRO"}
    assert {one.name for one in task_curves(section)["BoolQ"]} >= {
        "LoRA [lora] (r=4)", "LoRA [lora_red] (r=4)",
    }  # fmt: skip


def test_filters_of_the_page_name_and_hide_one_method_each(report):
    text = page([report])
    assert text.count(">LoRA [lora]</label>") == text.count(">LoRA [lora_red]</label>") == 1
    rows = re.findall(r'<tr data-method="(\w+)">(?:<th scope="row">|<td[^>]*>)([^<]*)', text)
    assert len(rows) == 6 * len(blocks(report))
    names = {"lora": "LoRA [lora] ", "lora_red": "LoRA [lora_red] ", "pedro": "PEDRO "}
    assert all(name.startswith(names[method]) for method, name in rows)
