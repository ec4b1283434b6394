"""Which runs are made as the papers made theirs; invented records."""

import pytest

from pedro_bench.analysis.paper_protocol import departures
from pedro_bench.analysis.papers import layouts
from pedro_bench.analysis.reading import read_runs
from pedro_bench.cli.hydra.sweep import combinations_of
from tests.unit.analysis.runs import run


@pytest.mark.parametrize(
    "name", ["table1", "table2", "table4", *(f"red_table{number}" for number in range(1, 8))]
)
def test_runs_of_a_papers_own_experiment_are_by_its_protocol(name, tmp_path):
    paper = layouts()[name].paper
    settings = combinations_of([f"+experiment={name}", "data=micro"])[0].settings
    groups = {group: settings.resolved_config[group] for group in ("trainer", "evaluation")}
    path = run(tmp_path, groups=groups, suite=name)
    assert departures(read_runs([path]), paper) == []
    groups["trainer"] = {**groups["trainer"], "max_steps": 3}
    path = run(tmp_path, groups=groups, suite=name)
    assert departures(read_runs([path]), paper) == ["trainer.max_steps=3"]
