"""The matrix of capabilities says what training runs do: each finishes or is refused, as its cell has it.

    python -m pedro_bench -m 'method=glob(*)' task=rte 'backbone=tiny_gpt2' trainer.max_steps=4 \
        suite=tiny output=json > found.json
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.__main__ import main
from pedro_bench.backbones.family import families
from pedro_bench.cli.options import options
from tests.tiny import CONF, REPOSITORY, build_backbone

SAMPLES = {
    name: dict(one) for family in families().values() for name, one in family.samples.items()
}


def yaml_of(layout: str) -> str:
    """Return the name of a layout's tiny backbone: `Falcon 7B` -> `tiny_falcon_7b`."""
    bare = layout.casefold().replace("gpt-neox", "gpt_neox").replace("-", "")
    return "tiny_" + bare.replace(" ", "_").replace(".", "_")


def cells(layout: str) -> dict[str, str]:
    """Return method -> letters of a layout's column in docs/capabilities.md."""
    document = (REPOSITORY / "docs" / "capabilities.md").read_text(encoding="utf-8")
    rows = [line.strip("|").split("|") for line in document.splitlines() if line.startswith("|")]
    head, _, *found = [[cell.strip() for cell in row] for row in rows]
    return {row[0]: row[head.index(layout)] for row in found}


def disagreements(layout: str, jobs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return where runs did not do what the matrix says, one line each.

    A run finishes if and only if its cell has `t` and `a` (it is trained and answers the test rows);
    otherwise it is refused for a reason.
    """
    told, wrong = cells(layout), []
    for job in jobs:
        method = job["overrides"][0].removeprefix("method=")
        letters = told.pop(method)
        is_finished = job["status"] == "finished"
        if is_finished != letters.startswith("ta"):
            wrong.append(f"{method}: {letters}, but the run is {job['status']} {job['errors']}")
        if not is_finished and not all(" must " in one and " got " in one for one in job["errors"]):
            wrong.append(f"{method}: no reason in {job['errors']}")
    return wrong + [f"{method}: no run" for method in told]


@pytest.mark.parametrize("layout", SAMPLES)
def test_every_layout_has_a_tiny_backbone_of_its_shape(layout: str) -> None:
    backbone: Any = build_backbone(yaml_of(layout))
    assert backbone.random_weights
    assert backbone.architecture == SAMPLES[layout]
    assert backbone.label == f"Tiny {layout}"


def test_every_tiny_backbone_is_a_layouts() -> None:
    found = {path.stem for path in (CONF / "backbone").glob("tiny_*.yaml")}
    assert found == {yaml_of(layout) for layout in SAMPLES}


def test_the_comparison_sees_what_is_wrong() -> None:
    told = cells("T5")
    jobs = [
        {
            "overrides": [f"method={method}"],
            "status": "finished" if letters != "--" else "failed",
            "errors": [] if letters != "--" else ["a method must fit, got none that does."],
        }
        for method, letters in told.items()
    ]
    assert disagreements("T5", jobs) == []
    assert disagreements("T5", jobs[1:]) == [f"{next(iter(told))}: no run"]
    failed = [{**jobs[0], "status": "failed", "errors": ["KeyError: 3"]}, *jobs[1:]]
    assert len(disagreements("T5", failed)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["RoBERTa", "T5"])
def test_a_run_of_every_method_is_as_the_matrix_has_it(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = ["task=rte", f"backbone={yaml_of(layout)}", "trainer.max_steps=4", "seeds=[0]"]
    short = ["trainer.eval_rows=8", "evaluation.test_rows=8", "task.max_new_tokens=2", "workers=1"]
    places = [f"results_dir={tmp_path / 'results'}", f"output_dir={tmp_path / 'outputs'}"]
    main(["-m", "method=glob(*)", *own, *short, *places, "output=json"])
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert {job["overrides"][0] for job in jobs} == {f"method={one}" for one in options("method")}
    assert disagreements(layout, jobs) == []
