"""The micro world: same rows every time, no duplicates, answers that follow, words that are one token."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

import pedro_bench.backbones
from pedro_bench.data import micro
from pedro_bench.data.micro import exercises, facts, lexicon, reviews
from pedro_bench.data.micro.facts import Fact
from pedro_bench.data.micro.lexicon import RELATIONS
from pedro_bench.errors import DataError

WEIGHTS = Path(pedro_bench.backbones.__path__[0]) / "micro_weights"
FIELDS = {
    "sst2": {"sentence", "label"},
    "boolq": {"question", "passage", "label"},
    "rte": {"premise", "hypothesis", "label"},
    "qnli": {"question", "sentence", "label"},
    "copa": {"premise", "choice1", "choice2", "question", "label"},
    "record": {"passage", "query", "entities", "answers"},
    "squad": {"id", "title", "context", "question", "answers"},
    "alpaca": {"instruction", "input", "output"},
}


@cache
def rows_of(task: str) -> dict[str, list[dict[str, Any]]]:
    return micro.generate(task)


def everything(task: str) -> list[dict[str, Any]]:
    return [row for rows in rows_of(task).values() for row in rows]


def told_in(text: str) -> Iterator[Fact]:
    """Read facts back from a passage, sentence by sentence, without the generator's random choices."""
    subject = ""
    for part in text.removesuffix(".").split(". "):
        for fact in _clauses(part, subject):
            subject = fact.person
            yield fact


def _clauses(sentence: str, subject: str) -> Iterator[Fact]:
    for clause in re.split(r", (?:and |but |while )?| and | but | while ", sentence):
        fact = _parse(clause, subject)
        assert fact is not None, clause
        subject = fact.person
        yield fact


@cache
def _parse(clause: str, subject: str) -> Fact | None:
    words = clause.replace("'s", " 's").split()
    names = [w for w in words if w in lexicon.NAMES]
    person = names[0] if names else subject
    for relation, forms in RELATIONS.items():
        for template in forms.says:
            for pronoun in (False, True):
                marked = facts.fill(template, Fact(person, relation, "@"), pronoun=pronoun)
                before, after = marked.replace("a @", "@").split("@")
                for head in (before, before[:1].upper() + before[1:]):
                    body = clause[len(head) : len(clause) - len(after)]
                    for article in ("", "a ", "an ", "A ", "An "):
                        value = body.removeprefix(article)
                        whole = Fact(person, relation, value)
                        if (
                            value
                            and clause
                            in (
                                facts.fill(template, whole, pronoun=pronoun),
                                facts.capitalise(facts.fill(template, whole, pronoun=pronoun)),
                            )
                            and value in _values(relation)
                        ):
                            return whole
    return None


@cache
def _values(relation: str) -> frozenset[str]:
    rng = Random(0)
    return frozenset(RELATIONS[relation].draw(rng) for _ in range(4000))


@pytest.mark.parametrize("task", micro.TASKS)
def test_rows_have_the_fields_of_the_real_data_and_the_promised_sizes(task: str) -> None:
    assert {split: len(rows) for split, rows in rows_of(task).items()} == {
        "train": 4000,
        "dev": 400,
        "test": 800,
    }
    assert {frozenset(row) for row in everything(task)} == {frozenset(FIELDS[task])}


@pytest.mark.parametrize("task", ["sst2", "copa", "boolq"])
def test_the_same_seed_gives_the_same_rows_and_another_seed_others(task: str) -> None:
    assert micro.generate(task) == rows_of(task)
    assert micro.generate(task, seed=1) != rows_of(task)


@pytest.mark.parametrize("task", micro.TASKS)
def test_no_two_rows_carry_the_same_texts(task: str) -> None:
    hidden = {"id", "label", "answers", "output"}
    keys = [json.dumps({k: v for k, v in r.items() if k not in hidden}) for r in everything(task)]
    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize("task", ["sst2", "boolq", "rte", "qnli", "copa"])
def test_labels_are_balanced_in_every_split(task: str) -> None:
    for rows in rows_of(task).values():
        counts = Counter(row["label"] for row in rows)
        assert len(counts) == 2
        assert len(set(counts.values())) == 1


def test_an_unknown_task_is_refused_with_the_near_match() -> None:
    with pytest.raises(DataError, match=r"got 'bolq'.*Did you mean 'boolq'.*squad"):
        micro.generate("bolq")


def test_squad_answers_stand_in_the_context_where_they_are_said_to() -> None:
    lengths = Counter()
    for row in everything("squad"):
        answers = row["answers"]
        for text, start in zip(answers["text"], answers["answer_start"], strict=True):
            assert row["context"][start : start + len(text)] == text
        lengths[len(answers["text"][0].split())] += 1
    assert lengths[2] > 100
    assert lengths[3] > 10


def test_squad_answers_are_those_of_the_fact_that_is_asked_for() -> None:
    num_by_another_fact = 0
    for row in rows_of("squad")["dev"][:150]:
        told = list(told_in(row["context"]))
        asked = {
            f.value
            for f in told
            for subject in (f.person, *described(f.person, told))
            for form in RELATIONS[f.relation].asks
            if facts.capitalise(facts.fill(form, f._replace(person=subject))) + "?"
            == row["question"]
        }
        assert asked == {row["answers"]["text"][0]}
        num_by_another_fact += "the one who" in row["question"]
    assert num_by_another_fact > 30


def described(person: str, told: list[facts.Fact]) -> list[str]:
    """Every way to name a person by what is told of them."""
    return [
        f"the one who {facts.fill(form, f)}"
        for f in told
        if f.person == person
        for form in RELATIONS[f.relation].whos
    ]


def test_boolq_labels_agree_with_the_facts_of_the_passage() -> None:
    for row in rows_of("boolq")["dev"][:150]:
        holds = any(
            facts.capitalise(facts.fill(form, f)) + "?" == row["question"]
            for f in told_in(row["passage"])
            for form in RELATIONS[f.relation].checks
        )
        assert holds is row["label"], row


def test_qnli_labels_agree_with_the_facts_of_the_sentence() -> None:
    for row in rows_of("qnli")["dev"][:150]:
        answered = any(
            facts.capitalise(facts.fill(form, f)) + "?" == row["question"]
            for f in told_in(row["sentence"])
            for form in RELATIONS[f.relation].asks
        )
        assert answered is (row["label"] == "entailment"), row


def test_record_answers_are_entities_of_the_passage_and_the_only_fit() -> None:
    for row in rows_of("record")["dev"][:150]:
        assert set(row["answers"]) <= set(row["entities"])
        assert all(entity in row["passage"] for entity in row["entities"])
        fits = set()
        for fact in told_in(row["passage"]):
            gap = fact._replace(person="@placeholder")
            forms = RELATIONS[fact.relation]
            said = [facts.fill(form, gap) for form in forms.says]
            said += [f"@placeholder {facts.fill(form, gap)}" for form in forms.whos]
            if row["query"] in {facts.capitalise(text) + "." for text in said}:
                fits.add(fact.person)
        assert fits == set(row["answers"]), row


def test_copa_choices_are_neighbours_in_a_chain_on_the_side_that_is_asked_for() -> None:
    for row in rows_of("copa")["dev"]:
        right = row["choice2"] if row["label"] else row["choice1"]
        assert row["choice1"] != row["choice2"]
        step = -1 if row["question"] == "cause" else 1
        assert any(
            _says(chain, middle, row["premise"]) and _says(chain, middle + step, right)
            for chain in exercises.CHAINS
            for middle in range(3)
            if 0 <= middle + step <= 2
        ), row


def _says(chain: exercises.Chain, step: int, sentence: str) -> bool:
    for name in lexicon.NAMES:
        for phrase in chain.events[step]:
            said = phrase.format(n=name)
            if sentence.lower().endswith(said.lower() + "."):
                return True
    return False


def test_counting_words_of_praise_does_not_solve_the_reviews() -> None:
    right = 0.0
    rows = everything("sst2")
    for row in rows:
        words = row["sentence"].strip(".").replace(",", "").split()
        balance = sum((w in reviews.PRAISE) - (w in reviews.BLAME) for w in words)
        right += 0.5 if balance == 0 else float((balance > 0) == bool(row["label"]))
    assert right / len(rows) < 0.65


def test_list_exercises_come_out_as_told() -> None:
    rng = Random(3)
    for _ in range(300):
        task = exercises.exercise(rng)
        words = task.source.split(", ")
        if task.statement == "the last word is":
            assert task.result == words[-1]
        if task.statement == "backwards it is":
            assert task.result.split(", ") == words[::-1]
        if task.statement == "the number of words is":
            assert task.result == lexicon.NUMBERS[len(words) - 2]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(WEIGHTS)


@pytest.mark.parametrize(
    "text",
    [
        "Ana lives in Oslo, doesn't she?",
        "  two  spaces,\ttabs\r\n\n and lines  ",
        "Zürich, naïve, Ελλάδα, 漢字, 🙂👩‍🔬, \u200b\ufeff\x00",
        "quantisation of x_1^2 == 3.14159e-10 (see §4)",
        "",
    ],
)
def test_the_tokenizer_loses_nothing(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids[1:]) == text


@pytest.mark.parametrize("task", micro.TASKS)
def test_every_word_of_the_rows_is_one_token(tokenizer: Any, task: str) -> None:
    known = tokenizer.get_vocab()
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str
    words = set()
    for row in everything(task):
        for key, value in row.items():
            if key in ("id", "title", "label", "answers"):
                continue
            for text in value if isinstance(value, list) else [value]:
                words |= {word for word, _ in split(f" {text}")}
    assert words - set(known) == set()
    assert len(known) <= 2500


def test_the_recipe_tells_how_the_weights_were_made() -> None:
    recipe = json.loads((WEIGHTS / "recipe.json").read_text(encoding="utf-8"))
    assert {"tokens", "final_loss", "probes", "settings", "versions"} <= set(recipe)
    assert recipe["settings"]["seed"] == 0
