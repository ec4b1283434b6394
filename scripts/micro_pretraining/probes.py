"""Probes of the skills that pre-training teaches; none uses a task's prompt."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any, Final

import torch
from transformers import PreTrainedTokenizerFast

from micro_pretraining import pretraining_text
from pedro_bench.data.micro import exercises, facts, reviews
from pedro_bench.data.micro.facts import capitalise

Probe = tuple[str, tuple[str, ...]]
"""A text and its continuations; the first one is right."""


def _copying(rng: Random) -> Probe:
    words = rng.sample(pretraining_text.plain_words(), 8)
    shown = rng.randint(1, 7)
    line = " ".join(words)
    text = f"Words: {line} again: " + " ".join(words[:shown])
    return text, (f" {words[shown]}", *(f" {w}" for w in words if w != words[shown]))


def _told(rng: Random) -> facts.Passage:
    return facts.passage(rng, facts.draw_facts(rng, 5, 2))


def _lookup(rng: Random) -> Probe:
    told = _told(rng)
    fact = rng.choice([f for f in told.facts if " " not in f.value] or list(told.facts))
    rivals = {facts.other_value(rng, fact, told.facts).value for _ in range(6)}
    return (
        f"{told.text} {facts.question(rng, fact)}",
        (f" {fact.value}.", *(f" {value}." for value in sorted(rivals))),
    )


def _person(rng: Random) -> Probe:
    told = facts.passage(rng, facts.draw_facts(rng, 6, 3))
    fact = rng.choice(told.facts)
    people = sorted({f.person for f in told.facts} - {fact.person})
    text = f"{told.text} {capitalise(facts.who(rng, fact, 'who'))}?"
    return text, (f" {fact.person}", *(f" {name}" for name in people))


def _checking(rng: Random) -> Probe:
    told = _told(rng)
    fact = rng.choice(told.facts)
    holds = rng.random() < 0.5
    claimed = fact if holds else facts.other_value(rng, fact, told.facts)
    verdicts = (" Yes", " No") if holds else (" No", " Yes")
    return f"{told.text} {facts.check(rng, claimed)}", verdicts


def _claiming(rng: Random) -> Probe:
    told = _told(rng)
    fact = rng.choice(told.facts)
    holds = rng.random() < 0.5
    claimed = fact if holds else facts.other_value(rng, fact, told.facts)
    text = f"{told.text} Somebody says that {facts.clause(rng, claimed)}. That is"
    return text, (" true", " false") if holds else (" false", " true")


def _choosing(rng: Random) -> Probe:
    chain = rng.choice(exercises.CHAINS)
    first, second, third = (exercises.tell(rng, chain, step, "Ana") for step in range(3))
    backwards = rng.random() < 0.5
    right, wrong = (first, third) if backwards else (third, first)
    one, two = (right, wrong) if rng.random() < 0.5 else (wrong, right)
    text = f"Either {one}, or {two}. {capitalise(second)} {'because' if backwards else 'so'}"
    return text, (f" {right}.", f" {wrong}.")


def _feeling(rng: Random) -> Probe:
    positive = rng.random() < 0.5
    text = f"Ana wrote: {reviews.review(rng, positive=positive)}. She"
    liked, disliked = " liked it.", " did not like it."
    return text, (liked, disliked) if positive else (disliked, liked)


def _listing(rng: Random) -> Probe:
    task = exercises.exercise(rng)
    words = task.source.split(", ")
    others = [f" {w}." for w in words if w != task.result] + [f" {exercises.joined(words[::-1])}."]
    wrong = [o for o in others if o != f" {task.result}."]
    return f"Of {task.source}: {task.statement}", (f" {task.result}.", *wrong)


PROBES: Final[dict[str, Callable[[Random], Probe]]] = {
    "copying": _copying,
    "lookup": _lookup,
    "person": _person,
    "checking": _checking,
    "claiming": _claiming,
    "choosing": _choosing,
    "feeling": _feeling,
    "listing": _listing,
}


@torch.no_grad()
def measure(
    model: Any, tokenizer: PreTrainedTokenizerFast, *, count: int = 100, device: str = "cpu"
) -> dict[str, float]:
    """Measure how often the right continuation is the likeliest by its mean log-probability.

    Args:
        model: The causal language model.
        tokenizer: Its tokenizer.
        count: Texts per probe.
        device: Where the model is.

    Returns:
        Shares of right answers by probe.
    """
    model.eval()
    shares: dict[str, float] = {}
    for name, probe in PROBES.items():
        rng = Random(f"probe:{name}")
        right = 0
        for _ in range(count):
            text, continuations = probe(rng)
            scores = _scores(model, tokenizer, text, continuations, device)
            right += int(scores.argmax().item() == 0)
        shares[name] = right / count
    model.train()
    return shares


def _scores(
    model: Any,
    tokenizer: PreTrainedTokenizerFast,
    text: str,
    continuations: tuple[str, ...],
    device: str,
) -> torch.Tensor:
    """Mean log-probabilities of the continuations, shape (number of continuations,)."""
    prompt = tokenizer(text).input_ids
    tails = [tokenizer(c, add_special_tokens=False).input_ids for c in continuations]
    width = max(map(len, tails))
    rows = [prompt + tail + [tokenizer.pad_token_id] * (width - len(tail)) for tail in tails]
    logits = model(input_ids=torch.tensor(rows, device=device)).logits[:, len(prompt) - 1 : -1]
    log_probs = logits.float().log_softmax(-1)
    target = torch.tensor([row[len(prompt) :] for row in rows], device=device)
    picked = log_probs.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    lengths = torch.tensor([len(tail) for tail in tails], device=device)
    mask = torch.arange(width, device=device)[None] < lengths[:, None]
    means: torch.Tensor = (picked * mask).sum(-1) / lengths
    return means
