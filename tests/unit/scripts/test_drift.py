"""The page on versions tells what they move, apart from what another processor does."""

from typing import Any

import drift
import pytest


def measured(transformers: str, **traces: Any) -> dict[str, Any]:
    made = {
        f"trainers/{name}": one if isinstance(one, dict) else {"trace": {"loss": one}}
        for name, one in traces.items()
    }
    return {"torch": "2.13.0", "transformers": transformers, "traces": made}


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> str:
    before = {"trace": {"loss": 2.0, "answers": ["yes"]}}
    monkeypatch.setattr(drift, "stored", lambda file: {"a": before, "b": before, "c": before})
    same = {"trace": {"loss": 2.1, "answers": ["yes"]}}
    other = {"trace": {"loss": 2.1, "answers": ["no"]}}
    failed = {"error": "TypeError: no cache"}
    results = {
        "2.13.0-5.23.0": measured("5.23.0", a=same, b=same, c=same),
        "2.13.0-5.24.0": measured("5.24.0", a=same, b=other, c=failed),
    }
    return drift.page(results)


def test_the_first_pair_is_compared_with_what_is_stored(page: str) -> None:
    assert "| 2.13.0 | 5.23.0 | stored | 3 | 0 | 0 | 3 | 0 | 0 |" in page
    assert page.count("moves by 4.8e-02") == 3


def test_other_pairs_are_compared_with_the_first(page: str) -> None:
    assert "| 2.13.0 | 5.24.0 | first row | 3 | 1 | 0 | 0 | 1 | 1 |" in page
    _, _, section = page.partition("## torch 2.13.0, transformers 5.24.0")
    assert "trainers/b: another answer or text" in section
    assert "trainers/c: TypeError: no cache" in section
    assert "trainers/a" not in section
