"""Two methods of one printed name have names of their own wherever rows are shown, drawn or filtered."""

import re

import pytest

from pedro_bench.analysis.series import by_parameters, curves, points
from pedro_bench.reporting.figures import budget_figure, house_style
from pedro_bench.reporting.grids import grids, label_of
from pedro_bench.reporting.page import page
from pedro_bench.reporting.text import latex
from tests.unit.analysis.runs import five, only

HISTORY = [{"step": step, "dev_loss": 1 / step} for step in (1, 2, 4)]


@pytest.fixture
def table(tmp_path):
    """Two methods printed `LoRA`, each at two sizes, and one of another name."""
    for method, score in (("lora", 70.0), ("lora_red", 60.0), ("pedro", 80.0)):
        label = {"label": "PEDRO" if method == "pedro" else "LoRA"}
        for r in (4, 8):
            five(
                tmp_path, method, score=score, r=r, history=HISTORY,
                parameters={"matrices": 1000 * r}, groups={"method": label},
            )  # fmt: skip
    table = only(tmp_path)
    return table


def test_names_have_the_method_only_where_they_collide(table):
    (section,) = table.sections
    labels = {line.method: line.label for line in section.lines}
    assert labels == {
        "lora": "LoRA [lora]", "lora_red": r"LoRA [lora\_red]", "pedro": "PEDRO",
    }  # fmt: skip


def test_a_label_that_a_methods_later_runs_do_not_have_collides_too(tmp_path):
    """A label is in no key, so one method's rows may have several; the last one alone was looked at."""
    for method, r, label in (
        ("lora", 4, "LoRA"), ("lora", 8, "Low rank"), ("lora_red", 4, "LoRA"), ("lora_red", 8, "LoRA"),
    ):  # fmt: skip
        five(tmp_path, method, r=r, groups={"method": {"label": label}})
    lines = only(tmp_path).sections[0].lines
    assert [line.label for line in lines] == [
        "LoRA [lora]", "Low rank", r"LoRA [lora\_red]", r"LoRA [lora\_red]",
    ]  # fmt: skip


def test_every_row_has_a_name_of_its_own_and_its_method(table):
    shown = grids(table)
    names = [row.cells[0].plain for row in shown[0].rows]
    assert names == [
        f"{label} (r={r})" for label in ("LoRA [lora]", "LoRA [lora_red]", "PEDRO") for r in (4, 8)
    ]
    for block in shown:
        assert {row.method for row in block.rows} == {"lora", "lora_red", "pedro"}
    assert r"LoRA [lora\_red] (r=8)" in latex(table)


def test_points_and_lines_are_those_of_methods(table):
    (section,) = table.sections
    groups = by_parameters(points(section, 0))
    assert {method: [one.median for one in own] for method, own in groups.items()} == {
        "lora": [70, 70], "lora_red": [60, 60], "pedro": [80, 80],
    }  # fmt: skip
    with house_style():
        figure = budget_figure(table, section)
    drawn = {one.get_label() for one in figure.axes[0].containers}
    assert drawn == {"LoRA [lora]", "LoRA [lora_red]", "PEDRO"}
    assert {label_of(one.line).plain for one in curves(table, section)["BoolQ"]} >= {
        "LoRA [lora] (r=4)", "LoRA [lora_red] (r=4)",
    }  # fmt: skip


def test_two_tasks_of_one_printed_name_have_headings_and_curves_of_their_own(tmp_path):
    for number, task in enumerate(("mine", "other"), start=1):
        history = [{"step": 1, "dev_loss": float(number)}]
        five(tmp_path, task=task, history=history, groups={"task": {"label": "My task"}})
    table = only(tmp_path)
    names = ["My task [mine]", "My task [other]"]
    assert grids(table)[0].header[2:] == tuple(f"{name} (acc)" for name in names)
    drawn = curves(table, table.sections[0])
    assert {name: own[0].median for name, own in drawn.items()} == {
        names[0]: ((1.0, 1.0),), names[1]: ((1.0, 2.0),),
    }  # fmt: skip
    assert [name in page([table], lambda runs: "") for name in names] == [True, True]


def test_two_backbones_of_one_printed_name_have_headings_of_their_own(tmp_path):
    for backbone in ("roberta_base", "roberta_large"):
        label = {"label": "RoBERTa"}
        five(tmp_path, suite="red_table1", backbone=backbone, groups={"backbone": label})
    labels = [section.label for section in only(tmp_path).sections]
    assert labels == ["RoBERTa [roberta_base]", "RoBERTa [roberta_large]"]


def test_filters_of_the_page_name_and_hide_one_method_each(table):
    text = page([table], lambda runs: "")
    assert text.count("<span>LoRA [lora]</span></label>") == 1
    assert text.count("<span>LoRA [lora_red]</span></label>") == 1
    rows = re.findall(r'<tr data-method="(\w+)">(?:<th scope="row">|<td[^>]*>)([^<]*)', text)
    assert len(rows) == 6 * len(grids(table))
    names = {"lora": "LoRA [lora] ", "lora_red": "LoRA [lora_red] ", "pedro": "PEDRO "}
    assert all(name.startswith(names[method]) for method, name in rows)
