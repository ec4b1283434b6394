"""What `cli.instruct` shows of an evaluation."""

from pathlib import Path

import pytest

from pedro_bench.cli.instruct import _show
from pedro_bench.records import EvaluationRecord


def test_names_of_parts_and_metrics_are_whole_on_a_narrow_screen(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """BBH's tasks and its second reading were cut to `boolean_expressio…` and `corrected_accura…`."""
    monkeypatch.setenv("COLUMNS", "60")
    part = {"accuracy": 50.0, "rows": 2, "corrected_accuracy": 50.0, "differing_answers": 0}
    record = EvaluationRecord(
        key="0" * 12,
        suite="bbh",
        run={"method": "pedro", "backbone": "smollm2_135m", "seed": 0},
        config={},
        data={},
        files={},
        metrics={"accuracy": 50.0},
        parts={"boolean_expressions": part},
        started="now",
        finished="now",
    )
    _show(record, Path("r.json"))
    told = capsys.readouterr().out
    assert "…" not in told
    assert "corrected" in told
