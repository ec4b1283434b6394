"""`cli.instruct suite=alpaca_eval` end to end: answers of a trained run, compared by a judge."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_instruct import (  # noqa: F401  # two of them are fixtures
    arguments,
    call,
    files_in,
    trained,
)
from tests.unit.instruct.judge_server import Answer, JudgeServer, said


def test_answers_are_compared_with_the_references(
    arguments: Any,  # noqa: F811
    tmp_path: Path,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = arguments("alpaca_eval", "judge.model=judge-1", "max_new_tokens=5")
    asked: list[str] = []

    def prefer(number: int, body: Any) -> Answer:
        """Call the reference better in every other comparison, wherever it stands."""
        content = body["messages"][1]["content"]
        asked.append(content)
        reference = "first" if "first answer ===\nin Oslo" in content else "second"
        own = "first" if reference == "second" else "second"
        return said(f"So it is.\n[[{(reference, own)[number % 2]}]]")

    with JudgeServer(prefer) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        code, out, err = call([*judged, "judge.concurrency=1"], capsys)
    assert code == 0, err
    found = json.loads(out)
    assert found["metrics"] == {"win_rate": 50.0}
    assert found["parts"] == {"koala": {"win_rate": 50.0, "judged": 6, "rows": 6}}
    assert len(set(asked)) == 6
    record = Path(found["record"])
    files = json.loads(record.read_text())["files"]
    answers = (record.parent / files["answers"]["path"]).read_text().splitlines()
    assert [len(json.loads(line)["answers"]) for line in answers] == [1] * 6
    assert files_in(tmp_path / "outputs") == []
    code, _, err = call([*judged, "data=hub"], capsys)
    assert code == 2
    assert "data.root must be left out with data=hub" in err
