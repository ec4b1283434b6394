"""Text of the later phases of pre-training: right answers, both verdicts, no prompt of a task."""

import itertools
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from micro_pretraining import practice_text, pretraining_text, transfer_text
from micro_pretraining.pretraining_text import Document

from pedro_bench.data.micro import facts
from pedro_bench.data.prompt import parse_template
from tests.tiny import read_yaml

CONF = Path(__file__).parents[3] / "conf" / "task"
WORDS = pretraining_text.plain_words()
PHASES = {
    "general": pretraining_text.document,
    "practice": practice_text.practice,
    "transfer": transfer_text.transfer,
}


def documents(phase: str, count: int, progress: float = 1.0) -> list[Document]:
    rng = Random(f"{phase}:{progress}")
    return [PHASES[phase](rng, progress=progress, plain_words=WORDS) for _ in range(count)]


def text_of(document: Document) -> str:
    return "".join(piece.text for piece in document)


@pytest.mark.parametrize("phase", PHASES)
def test_the_same_seed_gives_the_same_text(phase: str) -> None:
    first, second = (list(map(text_of, documents(phase, 30))) for _ in range(2))
    assert first == second
    assert len(set(first)) == 30


@pytest.mark.parametrize("phase", PHASES)
def test_no_cue_of_a_task_occurs(phase: str) -> None:
    """What stands behind a prompt's last field is never seen in pre-training."""
    cues = set()
    for path in CONF.glob("*.yaml"):
        task = read_yaml(path)
        template = parse_template("prompt", task["prompt"], None)
        words = task.get("words") or {}
        for chosen in itertools.product(*words.values()):
            values = dict.fromkeys(template.fields, "|") | dict(zip(words, chosen, strict=True))
            prompt = "".join(part.text for part in template.parts(values))
            cues.add(prompt.rsplit("|", 1)[1].strip())
    cues.discard("")
    assert cues >= {"Answer yes or no:", "The cause:", "The effect:"}
    written = " ".join(map(text_of, documents(phase, 1500)))
    assert [cue for cue in cues if cue in written] == []


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_claims_hold_as_often_as_not_and_verdicts_come_in_pairs(level: float) -> None:
    rng = Random(3)
    verdicts: Counter[str] = Counter()
    for _ in range(200):
        document = transfer_text._carried_claims(rng, level, WORDS)
        verdicts.update(piece.text for piece in document if piece.foreseeable)
    tossed = {word: verdicts.pop(word) for word in (" yes.", " no.")}
    assert set(verdicts) == {" true.", " false.", " right.", " wrong.", " Yes.", " No."}
    held = sum(verdicts[word] for word in (" true.", " right.", " Yes."))
    assert 0.45 < held / verdicts.total() < 0.55
    assert 0.05 < sum(tossed.values()) / verdicts.total() < 0.25


def test_the_words_that_tasks_answer_with_say_nothing_about_a_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def claim(*_: object, holds: bool) -> str:
        return f"{holds}"

    monkeypatch.setattr(transfer_text, "_claim", claim)
    rng = Random(5)
    given: Counter[tuple[str, str]] = Counter()
    for _ in range(3000):
        _, *pieces = transfer_text._carried_claims(rng, 0.0, WORDS)
        for claimed, verdict in zip(pieces[::2], pieces[1::2], strict=True):
            if verdict.text in (" yes.", " no."):
                given["True" if "True" in claimed.text else "False", verdict.text] += 1
    assert len(given) == 4
    assert given.total() > 1000
    assert all(0.22 < count / given.total() < 0.28 for count in given.values())


def test_a_person_is_named_once_for_each_fact() -> None:
    rng = Random(4)
    for _ in range(100):
        told = facts.passage(rng, facts.draw_facts(rng, 4, 2))
        document = transfer_text._naming(rng, 0.0, WORDS)
        asked = [piece.text for piece in document if not piece.foreseeable][1:]
        named = [piece.text for piece in document if piece.foreseeable]
        assert len(set(asked)) == len(asked) == len(named)
        assert all(name.strip(" .") in document[0].text for name in named)
        fact = told.facts[0]
        assert fact.value.lower() in transfer_text._who_is_it(rng, fact, plain=True).lower()


def test_pretraining_text_never_uses_the_prompts_of_the_tasks() -> None:
    rng = Random(5)
    words = pretraining_text.plain_words()
    for _ in range(3000):
        document = pretraining_text.document(rng, progress=rng.random(), plain_words=words)
        text = "".join(piece.text for piece in document)
        for part in ("Question:", "Premise:", "Review:", "Response:", "@placeholder", "yes or no"):
            assert part not in text
