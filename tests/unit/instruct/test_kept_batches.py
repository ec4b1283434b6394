"""Batches of an interrupted evaluation are not made again, and their results are as they were."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="the extra `instruct` is not installed")

from pedro_bench.instruct import harness_model
from pedro_bench.instruct.kept_batches import KeptBatches
from pedro_bench.instruct.record import Journal
from tests.unit.instruct.test_harness_model import PAIRS, ask, make_lm

PROMPTS = [context for context, _ in PAIRS]


class InterruptionError(Exception):
    """Stands for what ends a process."""


def interrupted_after(calls: int, name: str, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let a function of the harness's model fail after so many calls; return the sizes of its batches."""
    real, sizes = getattr(harness_model, name), []

    def counted(adapted: Any, given: Any, **options: Any) -> Any:
        if len(sizes) == calls:
            raise InterruptionError
        sizes.append(len(given))
        return real(adapted, given, **options)

    monkeypatch.setattr(harness_model, name, counted)
    return sizes


@pytest.mark.parametrize("kind", ["scores", "texts"])
def test_an_interrupted_task_goes_on_at_its_batch(
    make_adapted: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    adapted = make_adapted()
    name = "score_continuations" if kind == "scores" else "generate"
    settings = {"until": ["dog"], "max_gen_toks": 6}

    def asked(told: list[Any] | None = None, kept: KeptBatches | None = None) -> Any:
        lm = make_lm(
            adapted,
            batch_size=2,
            kept=kept,
            progress=None if told is None else lambda *numbers: told.append(numbers),
        )
        if kind == "scores":
            return lm.loglikelihood(ask(PAIRS))
        return lm.generate_until(ask([(prompt, settings) for prompt in PROMPTS]))

    expected = asked()
    assert len(set(expected)) > 2
    path = tmp_path / "batches.jsonl"
    with monkeypatch.context() as patch, Journal(path) as journal:
        interrupted_after(2, name, patch)
        with pytest.raises(InterruptionError):
            asked(kept=KeptBatches(journal))
    told: list[Any] = []
    with monkeypatch.context() as patch, Journal(path) as journal:
        sizes = interrupted_after(99, name, patch)
        assert asked(told, KeptBatches(journal)) == expected
    total = len(PAIRS) if kind == "texts" else len(PAIRS) - 1  # two continuations share a pass
    assert len(sizes) == 1
    assert told[-1] == (total, total)
    assert len(told) == 3


def test_other_settings_are_another_batch(tmp_path: Path) -> None:
    with Journal(tmp_path / "batches.jsonl") as journal:
        kept = KeptBatches(journal)
        assert kept.results([1, ["Q"]], lambda: ["a"]) == ["a"]
        assert kept.results([1, ["Q"]], lambda: ["b"]) == ["a"]
        assert kept.results([2, ["Q"]], lambda: ["c"]) == ["c"]
        assert len(journal.entries) == 2


def test_what_decides_a_text_besides_its_prompt_is_told_apart(
    make_adapted: Any, tmp_path: Path
) -> None:
    adapted = make_adapted()
    whole = make_lm(adapted).generate_until(ask([(PROMPTS[0], {"max_gen_toks": 6})]))
    word = whole[0].split()[2]
    variants = [(1, 6, []), (1, 2, []), (1, 6, [word]), (3, 6, [])]  # beams, tokens, stop texts
    with Journal(tmp_path / "batches.jsonl") as journal:
        kept = KeptBatches(journal)
        for beams, tokens, stop in variants:
            requests = ask([(PROMPTS[0], {"max_gen_toks": tokens, "until": stop})])
            expected = make_lm(adapted, num_beams=beams).generate_until(requests)
            lm = make_lm(adapted, num_beams=beams, kept=kept)
            assert lm.generate_until(requests) == expected
        assert len(journal.entries) == len(variants)
