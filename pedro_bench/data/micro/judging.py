"""Rows of the tasks without a passage: sst2, copa, alpaca."""

from __future__ import annotations

from random import Random
from typing import Any

from pedro_bench.data.micro import causes, facts, lexicon, lists, reviews
from pedro_bench.data.micro.facts import capitalise
from pedro_bench.data.micro.relations import RELATIONS


def sst2(rng: Random, wanted: bool) -> dict[str, Any]:
    """A review; the label is its overall verdict."""
    return {"sentence": f"{reviews.review(rng, positive=wanted)}.", "label": int(wanted)}


def copa(rng: Random, wanted: bool) -> dict[str, Any]:
    """A premise and two choices; `wanted` says whether the right one is the second.

    Most wrong choices belong to the same story and lie on the other side of the premise.
    """
    chain = rng.choice(causes.CHAINS)
    name = rng.choice(lexicon.NAMES)
    is_cause = rng.random() < 0.5
    if rng.random() < 0.65:
        middle, right, wrong = 1, (0 if is_cause else 2), (2 if is_cause else 0)
        wrong_text = causes.tell(rng, chain, wrong, name)
    else:
        middle = rng.choice((1, 2) if is_cause else (0, 1))
        right = middle - 1 if is_cause else middle + 1
        other = rng.choice([c for c in causes.CHAINS if c != chain])
        wrong_text = causes.tell(rng, other, rng.randrange(3), name)
    premise = causes.when(rng) + causes.tell(rng, chain, middle, name)
    right_text = causes.tell(rng, chain, right, name)
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
        task = lists.exercise(rng)
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
