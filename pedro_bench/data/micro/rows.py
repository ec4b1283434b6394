"""Rows of the tasks that read a passage of facts: boolq, rte, qnli, record, squad.

Rows of the tasks without a passage: sst2, copa, alpaca.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from pedro_bench.data.micro import exercises, facts, lexicon, reviews
from pedro_bench.data.micro.facts import Fact, Passage, capitalise
from pedro_bench.data.micro.lexicon import RELATIONS

PLACEHOLDER: Final = "@placeholder"


def _tell(
    rng: Random, count: tuple[int, int], people: tuple[int, int], relations: int | None = None
) -> Passage:
    drawn = facts.draw_facts(rng, rng.randint(*count), rng.randint(*people), relations)
    return facts.passage(rng, drawn)


def untold(rng: Random, told: tuple[Fact, ...]) -> Fact:
    """A fact about a person of the passage that the passage leaves open.

    Half of the time the passage tells the same relation of somebody else.
    """
    known = {(f.person, f.relation) for f in told}
    people = sorted({f.person for f in told})
    relations = sorted({f.relation for f in told})
    borrowed = [
        f._replace(person=person)
        for f in told
        for person in people
        if (person, f.relation) not in known
    ]
    if borrowed and rng.random() < 0.5:
        return rng.choice(borrowed)
    while True:
        person = rng.choice(people)
        relation = rng.choice(relations if rng.random() < 0.3 else list(RELATIONS))
        if (person, relation) not in known:
            return Fact(person, relation, RELATIONS[relation].draw(rng))


def boolq(rng: Random, wanted: bool) -> dict[str, Any]:
    """A yes/no question about a passage; what is not told is answered with no."""
    told = _tell(rng, (4, 6), (2, 3))
    fact = rng.choice(told.facts)
    if not wanted:
        missing = rng.random() < 0.3
        fact = untold(rng, told.facts) if missing else facts.other_value(rng, fact, told.facts)
    return {"question": facts.check(rng, fact), "passage": told.text, "label": wanted}


def rte(rng: Random, wanted: bool) -> dict[str, Any]:
    """A premise and a hypothesis, plain, denied or of two halves."""
    told = _tell(rng, (2, 4), (1, 2))
    fact = rng.choice(told.facts)
    wrong = facts.other_value(rng, fact, told.facts)
    kind = rng.random()
    if kind < 0.45:
        open_fact = untold(rng, told.facts) if rng.random() < 0.25 else wrong
        hypothesis = facts.clause(rng, fact if wanted else open_fact)
    elif kind < 0.75:
        hypothesis = facts.denial(rng, wrong if wanted else fact)
    else:
        other = rng.choice([f for f in told.facts if f != fact])
        halves = [facts.clause(rng, fact if wanted else wrong), facts.clause(rng, other)]
        rng.shuffle(halves)
        hypothesis = " and ".join(halves)
    return {
        "premise": told.text,
        "hypothesis": f"{capitalise(hypothesis)}.",
        "label": "entailment" if wanted else "not_entailment",
    }


def qnli(rng: Random, wanted: bool) -> dict[str, Any]:
    """A question and one sentence of several facts that answers it or does not."""
    drawn = facts.draw_facts(rng, rng.randint(2, 4), 2)
    clauses = [facts.clause(rng, fact) for fact in drawn]
    text = ", ".join(clauses[:-1]) + rng.choice((" and ", ", and ", ", while ")) + clauses[-1]
    fact = rng.choice(drawn) if wanted else untold(rng, drawn)
    return {
        "question": facts.question(rng, fact),
        "sentence": f"{capitalise(text)}.",
        "label": "entailment" if wanted else "not_entailment",
    }


def record(rng: Random, _wanted: bool) -> dict[str, Any]:
    """A passage and a statement with a gap for one of its people."""
    told = _tell(rng, (5, 7), (3, 3))
    fact = rng.choice(told.facts)
    statement = facts.clause(rng, fact._replace(person=PLACEHOLDER))
    if rng.random() < 0.4:
        statement = facts.who(rng, fact, PLACEHOLDER)
    places = {*lexicon.CITIES, *lexicon.COUNTRIES}
    entities = list(dict.fromkeys(f.person for f in told.facts))
    entities += [f.value for f in told.facts if f.value in places]
    rng.shuffle(entities)
    return {
        "passage": told.text,
        "query": f"{capitalise(statement)}.",
        "entities": entities,
        "answers": [fact.person],
    }


def squad(rng: Random, _wanted: bool) -> dict[str, Any]:
    """A passage and a question whose answer is one to three words of it.

    The same three things are told of four people, so that every answer has rivals. Two questions of five
    do not name the person but tell another thing of the same person.
    """
    told = _tell(rng, (8, 10), (4, 4), relations=3)
    index = rng.randrange(len(told.facts))
    fact, start = told.facts[index], told.starts[index]
    others = [f for f in told.facts if f.person == fact.person and f != fact]
    if others and rng.random() < 0.4:
        question = facts.question(rng, fact, known_by=rng.choice(others))
    else:
        question = facts.question(rng, fact)
    texts, starts = [fact.value], [start]
    for article in ("a ", "an ", "the "):
        begin = start - len(article)
        if begin >= 0 and told.text[begin:start].lower() == article:
            texts.append(told.text[begin : start + len(fact.value)])
            starts.append(begin)
    return {
        "id": "",
        "title": "People",
        "context": told.text,
        "question": question,
        "answers": {"text": texts, "answer_start": starts},
    }


def sst2(rng: Random, wanted: bool) -> dict[str, Any]:
    """A review; the label is its overall verdict."""
    return {"sentence": f"{reviews.review(rng, positive=wanted)}.", "label": int(wanted)}


def copa(rng: Random, wanted: bool) -> dict[str, Any]:
    """A premise and two choices; `wanted` says whether the right one is the second.

    Most wrong choices belong to the same story and lie on the other side of the premise.
    """
    chain = rng.choice(exercises.CHAINS)
    name = rng.choice(lexicon.NAMES)
    is_cause = rng.random() < 0.5
    if rng.random() < 0.65:
        middle, right, wrong = 1, (0 if is_cause else 2), (2 if is_cause else 0)
        wrong_text = exercises.tell(rng, chain, wrong, name)
    else:
        middle = rng.choice((1, 2) if is_cause else (0, 1))
        right = middle - 1 if is_cause else middle + 1
        other = rng.choice([c for c in exercises.CHAINS if c != chain])
        wrong_text = exercises.tell(rng, other, rng.randrange(3), name)
    premise = exercises.when(rng) + exercises.tell(rng, chain, middle, name)
    right_text = exercises.tell(rng, chain, right, name)
    choices = [f"{capitalise(text)}." for text in (right_text, wrong_text)]
    if wanted:
        choices.reverse()
    return {
        "premise": f"{capitalise(premise)}.",
        "choice1": choices[0],
        "choice2": choices[1],
        "question": "cause" if is_cause else "effect",
        "label": int(wanted),
    }


def alpaca(rng: Random, _wanted: bool) -> dict[str, Any]:
    """An instruction with an input and the one right response."""
    kind = rng.random()
    if kind < 0.75:
        task = exercises.exercise(rng)
        return {"instruction": task.instruction, "input": task.source, "output": task.result}
    drawn = facts.draw_facts(rng, 2, 2)
    told = facts.passage(rng, drawn)
    fact = rng.choice(told.facts)
    if kind < 0.88:
        return {"instruction": facts.question(rng, fact), "input": told.text, "output": fact.value}
    name = rng.choice([n for n in lexicon.NAMES if n != fact.person])
    template = rng.choice(RELATIONS[fact.relation].says)
    said, wanted_text = (
        f"{capitalise(facts.fill(template, f))}." for f in (fact, fact._replace(person=name))
    )
    instruction = rng.choice((f"Say the same about {name}.", f"Put {name} in place of the person."))
    return {"instruction": instruction, "input": said, "output": wanted_text}
