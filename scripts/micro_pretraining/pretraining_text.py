"""Text to pre-train the embedded backbone on: it teaches skills, never the tasks' prompts.

Copying, looking a fact up, checking a claim, seeing what a text does not say, choosing between causes
and effects, the feeling of reviews, lists. A document is a row of pieces; the pieces that a reader of
the rest could foresee are marked, so that training may weigh them more than freely invented facts.
"""

from __future__ import annotations

from random import Random
from typing import Final, NamedTuple

from pedro_bench.data.micro import exercises, facts, lexicon, reviews
from pedro_bench.data.micro.facts import Fact, capitalise
from pedro_bench.data.micro.lexicon import RELATIONS


class Piece(NamedTuple):
    """A stretch of text; `foreseeable` if it follows from the text before it."""

    text: str
    foreseeable: bool


Document = list[Piece]

DENSE_FROM: Final = 0.5
"""From this point of the curriculum on, documents hold more claims and more verdicts."""

RIVALS_FROM: Final = 0.9
"""From this point on, half of the passages tell the same one or two relations of all their people."""

RECALL_FROM: Final = 1.125
RECALL_UNTIL: Final = 1.5
"""Between these, four documents in ten practise recall by name; afterwards one in ten."""

ASIDES: Final[tuple[str, ...]] = tuple(
    "positive negative yes no true false right wrong good bad review sentence question answer "
    "premise statement choice passage sentiment instruction input response entities words text "
    "cause effect first second imply hypothesis placeholder stands list claim story".split()
)
"""Words of tasks' prompts and answers; they occur in copied lists, so that none is untrained."""


def _copying(rng: Random, plain_words: tuple[str, ...]) -> Document:
    count = rng.randint(3, 14)
    words = [rng.choice(plain_words) for _ in range(count)]
    line = " ".join(words)
    mark = rng.choice((" again:", " once more:", "; the same:", "\nAgain:"))
    if rng.random() < 0.3:
        line = exercises.joined(words)
    opening = rng.choice(("Words:", "Say:", "Take"))
    doc = [Piece(f"{opening} {line}", False), Piece(mark, False), Piece(f" {line}", True)]
    if count < 9:
        doc += [Piece(mark, True), Piece(f" {line}", True)]
    return doc


def _restating(rng: Random) -> Document:
    """The same sentences again in another order: from the person on, each is foreseeable."""
    told = [
        facts.sentence(rng, f) for f in facts.draw_facts(rng, rng.randint(2, 5), rng.randint(2, 3))
    ]
    again = told[:]
    rng.shuffle(again)
    return [Piece(" ".join(told), False), *(Piece(f" {sentence}", True) for sentence in again)]


def _recalling(rng: Random) -> Document:
    """One relation told of several people, then asked of each: the name alone decides.

    From bare pairs over the same phrasing to free phrasings and questions.
    """
    relation = rng.choice(list(RELATIONS))
    people = rng.randint(2, 5)
    drawn = facts.draw_facts(rng, people, people, 1, pool=(relation,))
    forms = RELATIONS[relation]
    kind = rng.random()
    form = rng.choice(("{n} {v}", "{n}: {v}", "{n} has {v}")) if kind < 0.25 else ""
    form = rng.choice(forms.says) if 0.25 <= kind < 0.6 else form
    if form:
        stop = "." if form in forms.says else ","
        told = " ".join(capitalise(facts.fill(form, f)) + stop for f in drawn)
    else:
        told = " ".join(facts.sentence(rng, f) for f in drawn)
    doc = [Piece(told, False)]
    asked = [rng.choice(drawn) for _ in range(rng.randint(4, 8))]
    for fact in asked:
        if not form and rng.random() < 0.7:
            doc += [Piece(f" {facts.question(rng, fact)}", False), Piece(f" {fact.value}.", True)]
            continue
        again = form or rng.choice(forms.says)
        doc += _gap(capitalise(facts.fill(again, fact)), fact.value)
    return doc


def _gap(sentence: str, value: str) -> Document:
    """A sentence of which only the value is foreseeable."""
    head, _, tail = sentence.rpartition(value)
    return [Piece(f" {head.rstrip()}", False), Piece(f" {value}", True), Piece(f"{tail}.", False)]


def stories(rng: Random, level: float) -> facts.Passage:
    """Tell a passage: from two facts at level 0 to seven of up to three people at level 1."""
    if level >= RIVALS_FROM and rng.random() < 0.5:
        people, relations = rng.randint(2, 3), rng.randint(1, 2)
        drawn = facts.draw_facts(rng, people * relations, people, relations)
        return facts.passage(rng, drawn, pronouns=0.3, joins=0.3)
    people = rng.randint(1, 3) if level > 0.4 else 2
    count = rng.randint(2, 3 + round(4 * level))
    return facts.passage(
        rng,
        facts.draw_facts(rng, min(count, people * 4), people),
        pronouns=0.5 * level,
        joins=0.4 * level,
    )


def missing_fact(rng: Random, told: facts.Passage) -> Fact:
    """A fact of the passage's world that the passage does not tell."""
    known = {(f.person, f.relation) for f in told.facts}
    people = sorted({f.person for f in told.facts})
    relations = sorted({f.relation for f in told.facts})
    while True:
        person = rng.choice(people) if rng.random() < 0.85 else rng.choice(lexicon.NAMES)
        relation = rng.choice(relations) if rng.random() < 0.5 else rng.choice(list(RELATIONS))
        if (person, relation) not in known:
            return Fact(person, relation, RELATIONS[relation].draw(rng))


def _asking(rng: Random, told: facts.Passage) -> Document:
    fact = rng.choice(told.facts)
    kind = rng.random()
    if kind < 0.12:
        missing = missing_fact(rng, told)
        answer = rng.choice((" It is not said.", " The text does not say.", " Nobody knows."))
        return [Piece(f" {facts.question(rng, missing)}", False), Piece(answer, True)]
    if kind < 0.34:
        subject = capitalise(facts.who(rng, fact, rng.choice(("who", "the one who"))))
        asked = f" {subject}?" if subject.startswith("Who") else f" {subject} is"
        return [Piece(asked, False), Piece(f" {fact.person}.", True)]
    if kind < 0.5:
        return [Piece(f" {capitalise(fact.person)}", False), *_restated(rng, fact)]
    answer = fact.value
    mark = rng.choice((" {}.", " {}.", " It is {}.", " Answer: {}."))
    return [Piece(f" {facts.question(rng, fact)}", False), Piece(mark.format(answer), True)]


def _restated(rng: Random, fact: Fact) -> Document:
    """The fact in another phrasing, behind the name that has just been said."""
    rest = facts.who(rng, fact, "")
    head, _, tail = rest.partition(fact.value)
    return [Piece(head.rstrip(), False), Piece(f" {fact.value}", True), Piece(f"{tail}.", False)]


def _claim(rng: Random, told: facts.Passage, level: float) -> Document:
    """A claim that is true, false or not told, and its verdict."""
    fact = rng.choice(told.facts)
    kind = rng.random()
    stated = True
    if kind < 0.45:
        claimed, holds = fact, True
    elif kind < 0.87 or level < 0.3:
        claimed, holds = facts.other_value(rng, fact, told.facts), False
    else:
        claimed, holds, stated = missing_fact(rng, told), False, False
    form = rng.random()
    if form < 0.45:
        asked = facts.check(rng, claimed)
        return [Piece(f" {asked}", False), *_reply(rng, fact, holds, stated)]
    if form < 0.6 and stated:
        held = rng.random() < 0.5
        words = facts.clause(rng, claimed) if held else facts.denial(rng, claimed)
        verdict = (" True", " Right") if held == holds else (" False", " Wrong")
        return [Piece(f" {capitalise(words)}.", False), Piece(f"{rng.choice(verdict)}.", True)]
    words = facts.clause(rng, claimed)
    speaker = rng.choice(lexicon.NAMES)
    opening, good, bad = rng.choice(
        (
            (f" Is it true that {words}?", " It is.", " It is not."),
            (f" Somebody says that {words}.", " That is true.", " That is false."),
            (f" It is said that {words}.", " That is right.", " That is wrong."),
            (f" {speaker} thinks that {words}.", f" {speaker} is right.", f" {speaker} is wrong."),
            (f" {capitalise(words)}?", " Yes.", " No."),
            (f" {capitalise(words)}:", " true.", " false."),
            (f" Do we know that {words}?", " We do.", " We do not."),
            (f" From this it follows that {words}:", " yes.", " no."),
        )
    )
    return [Piece(opening, False), Piece(good if holds else bad, True)]


def _reply(rng: Random, fact: Fact, holds: bool, stated: bool) -> Document:
    """A short or a reasoned answer to a yes/no question."""
    kind = rng.random()
    if not stated:
        return [Piece(rng.choice((" No.", " No, that is not said.", " No.")), True)]
    if kind < 0.5:
        return [Piece(" Yes." if holds else " No.", True)]
    if kind < 0.75:
        return [Piece(f" Yes, {fact.value}." if holds else f" No, {fact.value}.", True)]
    return [Piece(f" It is {fact.value}, so {'yes' if holds else 'no'}.", True)]


def _told(rng: Random, told: facts.Passage) -> Document:
    """Whether the passage holds the answer to a question."""
    known = rng.random() < 0.5
    fact = rng.choice(told.facts) if known else missing_fact(rng, told)
    good, bad = rng.choice(
        (
            (" We are told.", " We are not told."),
            (" The text tells it.", " The text does not tell it."),
            (" That is answered.", " That is not answered."),
        )
    )
    return [Piece(f" {facts.question(rng, fact)}", False), Piece(good if known else bad, True)]


def _facts(rng: Random, level: float) -> Document:
    """A passage, then claims, questions and restatements about it."""
    told = stories(rng, level)
    doc = [Piece(told.text, False)]
    dense = level >= DENSE_FROM
    claims = (0.4 if dense else 0.25) + 0.3 * level * (0.7 if dense else 1.0)
    for _ in range(rng.randint(6, 11) if dense else rng.randint(4, 8)):
        kind = rng.random()
        if kind < claims:
            doc += _claim(rng, told, level)
        elif kind < claims + 0.1 * level:
            doc += _told(rng, told)
        else:
            doc += _asking(rng, told)
    return doc


def _feeling(rng: Random, level: float) -> Document:
    """Reviews, each with a verdict in other words."""
    doc: Document = []
    for _ in range(rng.randint(4, 7) if level >= DENSE_FROM else rng.randint(2, 4)):
        positive = rng.random() < 0.5
        words = reviews.review(rng, positive=positive)
        writer = rng.choice(lexicon.NAMES)
        subject = "She" if writer in lexicon.WOMEN else "He"
        verdict = rng.choice(
            (
                (f" {subject} liked it.", f" {subject} did not like it."),
                (f" {subject} was pleased.", f" {subject} was not pleased."),
                (" Five stars.", " One star."),
                (" Worth the money.", " A waste of money."),
                (" That is praise.", " That is blame."),
                (" So go and see it.", " So stay away from it."),
                (" A positive verdict.", " A negative verdict."),
                (" All in all good.", " All in all bad."),
            )
        )
        opening = rng.choice((f"{writer} wrote: {words}.", f"{capitalise(words)}, wrote {writer}."))
        doc += [
            Piece((" " if doc else "") + opening, False),
            Piece(verdict[0 if positive else 1], True),
        ]
    return doc


def _causing(rng: Random) -> Document:
    """Causes and effects, told in both directions or chosen from two."""
    doc: Document = []
    for _ in range(rng.randint(2, 4)):
        chain = rng.choice(exercises.CHAINS)
        name = rng.choice(lexicon.NAMES)
        first, second, third = (exercises.tell(rng, chain, step, name) for step in range(3))
        cause, effect = (first, second) if rng.random() < 0.5 else (second, third)
        gap = " " if doc else ""
        kind = rng.random()
        if kind < 0.2:
            doc += [Piece(f"{gap}{capitalise(effect)} because", False), Piece(f" {cause}.", True)]
        elif kind < 0.4:
            opening = capitalise(exercises.when(rng) + cause)
            doc += [Piece(f"{gap}{opening}, so", False), Piece(f" {effect}.", True)]
        elif kind < 0.5:
            doc += [
                Piece(f"{gap}First {first}, then", False),
                Piece(f" {second}, and at last {third}.", True),
            ]
        else:
            doc += _chosen(rng, gap, (first, second, third), name)
    return doc


def _chosen(rng: Random, gap: str, events: tuple[str, str, str], name: str) -> Document:
    """Two possible causes or effects of a middle event and the one that fits."""
    backwards = rng.random() < 0.5
    right = events[0] if backwards else events[2]
    wrong = events[2] if backwards else events[0]
    if rng.random() < 0.5:
        wrong = exercises.tell(rng, rng.choice(exercises.CHAINS), rng.randrange(3), name)
    one, two = (right, wrong) if rng.random() < 0.5 else (wrong, right)
    link = rng.choice(("because", "and the reason was that") if backwards else ("so", "and then"))
    opening = f"{gap}Either {one}, or {two}. {capitalise(events[1])} {link}"
    return [Piece(opening, False), Piece(f" {right}.", True)]


def _listing(rng: Random) -> Document:
    """Operations on lists."""
    doc: Document = []
    for _ in range(rng.randint(2, 4)):
        task = exercises.exercise(rng)
        gap = " " if doc else ""
        opening = rng.choice(("Of", "For", "Take"))
        doc += [
            Piece(f"{gap}{opening} {task.source}: {task.statement}", False),
            Piece(f" {task.result}.", True),
        ]
    return doc


def document(rng: Random, *, progress: float, plain_words: tuple[str, ...]) -> Document:
    """Write one document.

    Args:
        rng: The source of chance.
        progress: Place in the curriculum: up to 1 copying gives way to facts and claims, from
            `RECALL_FROM` on recall by name is practised.
        plain_words: Words for copied lists; meant to be all words of the vocabulary.
    """
    if progress >= RECALL_FROM and rng.random() < (0.4 if progress < RECALL_UNTIL else 0.1):
        return _recalling(rng)
    progress = min(1.0, progress)
    kind = rng.random()
    copying = max(0.05, 0.75 - 1.3 * progress)
    if kind < copying:
        return _copying(rng, plain_words)
    kind = (kind - copying) / (1 - copying)
    restating = max(0.04, 0.5 - 1.2 * progress)
    if kind < restating:
        return _restating(rng)
    shares = (0.64, 0.80, 0.90) if progress >= DENSE_FROM else (0.68, 0.80, 0.89)
    if kind < shares[0]:
        return _facts(rng, progress)
    if kind < shares[1]:
        return _feeling(rng, progress)
    if kind < shares[2]:
        return _causing(rng)
    return _listing(rng)


def plain_words() -> tuple[str, ...]:
    """All words for copied lists: values, list words, words of answers and of causes."""
    words: dict[str, None] = dict.fromkeys(ASIDES)
    words |= dict.fromkeys(exercises.words_of_lists())
    words |= dict.fromkeys((*reviews.PRAISE, *reviews.BLAME, *reviews.WORKS, *reviews.PARTS))
    words |= dict.fromkeys(w for pair in lexicon.OPPOSITES for w in pair)
    values = (
        *lexicon.JOBS,
        *lexicon.SHADES,
        *lexicon.FOODS,
        *lexicon.DISHES,
        *lexicon.DRINKS,
        *lexicon.HOBBIES,
        *lexicon.FLOWERS,
    )
    words |= dict.fromkeys(w for value in values for w in value.split())
    words |= dict.fromkeys(w for time in exercises.TIMES for w in time.split())
    for chain in exercises.CHAINS:
        for event in chain.events:
            for phrase in event:
                words |= dict.fromkeys(w for w in phrase.split() if w.isalpha())
    return tuple(words)
