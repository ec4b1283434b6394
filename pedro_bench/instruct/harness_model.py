"""A trained run as a model of lm-evaluation-harness (package `lm_eval`, extra `instruct`).

The harness asks for log p(continuation | context) and for text that follows a context. The context is
the prompt and nothing else is: vectors that a method makes from the prompt never see a continuation.
There is no response cache: the harness's own is keyed by the request alone, not by the model.
Continuations of one context that differ in their last token only (the four letters of a multiple
choice) share one pass through the model.

Legend: N answer tokens of a pass, C continuations that share it, V vocabulary.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lm_eval.api.model import LM
from torch import Tensor

from pedro_bench.errors import ConfigError, ContextError
from pedro_bench.evaluation.batches import (
    Adapted,
    Progress,
    by_length,
    check_numbers,
    check_positions,
    evaluating,
)
from pedro_bench.evaluation.decoding import generate
from pedro_bench.instruct.contexts import Contexts, Ids
from pedro_bench.instruct.kept_batches import KeptBatches
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded, collate

Score = tuple[float, bool]


def score_continuations(
    adapted: Adapted,
    pairs: Sequence[tuple[Ids, Ids]],
    *,
    batch_size: int,
) -> list[Score]:
    """Return (log p(continuation | context) in nats, whether every token is the likeliest).

    Args:
        adapted: The adapted model; its training mode is as before afterwards.
        pairs: Ids of context and continuation, at least one each; the context is the prompt.
        batch_size: Passes made together; moves results by rounding alone.

    Raises:
        DataError: If a pair exceeds the backbone's positions.
        TrainingError: If the device runs out of memory, or a log-likelihood is not finite.
    """
    members = _shared(pairs)
    passes = [Encoded(*pairs[positions[0]], number) for number, positions in enumerate(members)]
    check_positions(adapted, max((len(one) for one in passes), default=0))
    scores: list[Score] = [(0.0, False)] * len(pairs)
    pad = int(adapted.backbone.tokenizer.pad_token_id)
    with evaluating(adapted, batch_size):
        for rows in by_length([len(one) for one in passes], batch_size):
            chosen = [passes[row] for row in rows]
            batch = collate(chosen, pad).to(adapted.backbone.device)
            logits_NV, _ = adapted.answer_logits(batch)
            parts = torch.split(logits_NV, [len(one.answer_ids) for one in chosen])
            for row, part_NV in zip(rows, parts, strict=True):
                continuations = [pairs[position][1] for position in members[row]]
                found = _score(adapted, part_NV, continuations)
                for position, score in zip(members[row], found, strict=True):
                    scores[position] = score
    return scores


def _shared(pairs: Sequence[tuple[Ids, Ids]]) -> list[list[int]]:
    """Return the positions of the pairs that share a pass: all their tokens but the last are equal."""
    shared: dict[tuple[Ids, Ids], list[int]] = {}
    for position, (context, continuation) in enumerate(pairs):
        shared.setdefault((context, continuation[:-1]), []).append(position)
    return list(shared.values())


def _score(adapted: Adapted, logits_NV: Tensor, continuations: Sequence[Ids]) -> list[Score]:
    """Score continuations that share all tokens but the last."""
    logprobs_NV = logits_NV.float().log_softmax(dim=-1)
    likeliest_N = logits_NV.argmax(dim=-1)
    labels_CN = torch.tensor(continuations, device=logits_NV.device)
    places_N = torch.arange(len(logits_NV), device=logits_NV.device)
    chosen_CN = logprobs_NV[places_N, labels_CN]
    check_numbers(adapted, chosen_CN, "log-likelihoods")
    sums = chosen_CN.double().sum(dim=1).tolist()
    greedy = (labels_CN == likeliest_N).all(dim=1).tolist()
    return list(zip(sums, greedy, strict=True))


_KNOWN = {"until", "max_gen_toks", "do_sample", "temperature"}


class AdaptedLM(LM):  # type: ignore[misc]  # the base class is Any to the checker
    """An adapted model that answers the harness's requests.

    Args:
        adapted: The adapted model, in evaluation mode.
        contexts: Encodes texts within the model's length.
        batch_size: Contexts in one pass; moves results by rounding alone.
        num_beams: Beams of generated text; 1 is greedy decoding, the harness's own way.
        max_new_tokens: Longest generated text in tokens; None: the task's `max_gen_toks`.
        progress: Called with the numbers of finished and of all requests of a task, those of an earlier
            call that was interrupted included.
        kept: Keeps the results of each batch.
    """

    def __init__(
        self,
        adapted: AdaptedModel,
        contexts: Contexts,
        *,
        batch_size: int,
        num_beams: int = 1,
        max_new_tokens: int | None = None,
        progress: Progress | None = None,
        kept: KeptBatches | None = None,
    ) -> None:
        super().__init__()
        self._adapted = adapted
        self._contexts = contexts
        self._batch_size = batch_size
        self._num_beams = num_beams
        self._max_new_tokens = max_new_tokens
        self._progress = progress
        self._kept = kept or KeptBatches()

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return (log-likelihood in nats, whether greedy) of each request's continuation."""
        found = self._contexts.pairs([request.args for request in requests])
        distinct = dict.fromkeys((before, len(after)) for before, after in found)
        fitted = {one: self._contexts.fit(*one) for one in distinct}  # each is counted once
        pairs = [(fitted[before, len(after)], after) for before, after in found]
        members = _shared(pairs)
        lengths = [sum(map(len, pairs[places[0]])) for places in members]
        scores: list[Score] = [(0.0, False)] * len(pairs)
        for rows, done in self._batches(lengths):
            places = [place for row in rows for place in members[row]]
            chosen = [pairs[place] for place in places]
            kept = self._kept.results(chosen, partial(self._scores, chosen))
            for place, (total, is_greedy) in zip(places, kept, strict=True):
                scores[place] = (total, is_greedy)
            self._tell(done, len(members))
        return scores

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Refuse: the perplexity of a whole text has no prompt.

        Raises:
            ContextError: Always.
        """
        raise ContextError(
            "a task must give a context and a continuation, got a whole text: without a prompt "
            "there is nothing that prompt-dependent methods could read."
        )

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the text that follows each request's context, cut before its first stop text.

        Raises:
            ConfigError: If a request asks for sampling or for a setting that is not known.
        """
        groups: dict[tuple[int, tuple[str, ...]], list[int]] = {}
        for position, request in enumerate(requests):
            groups.setdefault(self._settings(request.args[1]), []).append(position)
        texts = [""] * len(requests)
        for (room, stop), positions in groups.items():
            encoded = self._contexts.encode([requests[one].args[0] for one in positions])
            prompts = [self._contexts.fit(ids, room) for ids in encoded]
            for rows, done in self._batches([len(one) for one in prompts]):
                chosen = [prompts[row] for row in rows]
                given = [self._num_beams, room, stop, chosen]
                answers = self._kept.results(given, partial(self._answers, chosen, room, stop))
                for row, answer in zip(rows, answers, strict=True):
                    texts[positions[row]] = answer
                self._tell(done, len(prompts))
        return texts

    def _batches(self, lengths: Sequence[int]) -> Iterator[tuple[list[int], int]]:
        """Yield the rows of each batch, and how many rows are done after it."""
        done = 0
        for rows in by_length(lengths, self._batch_size):
            done += len(rows)
            yield rows, done

    def _scores(self, pairs: Sequence[tuple[Ids, Ids]]) -> list[Score]:
        return score_continuations(self._adapted, pairs, batch_size=self._batch_size)

    def _answers(self, prompts: Sequence[Ids], room: int, stop: Sequence[str]) -> list[str]:
        return generate(
            self._adapted,
            [Encoded(ids, (), number) for number, ids in enumerate(prompts)],
            num_beams=self._num_beams,
            max_new_tokens=room,
            batch_size=self._batch_size,
            stop=stop,
        )

    def _tell(self, done: int, total: int) -> None:
        if self._progress is not None:
            self._progress(done, total)

    def _settings(self, given: Mapping[str, Any]) -> tuple[int, tuple[str, ...]]:
        """Return the room for new tokens and the stop texts of a request."""
        unknown = sorted(set(given) - _KNOWN)
        if unknown or given.get("do_sample") or given.get("temperature"):
            raise ConfigError(
                "a task must generate without sampling and by "
                f"{', '.join(sorted(_KNOWN))} alone, got {dict(given)!r}."
            )
        until = given.get("until") or ()
        stop = (until,) if isinstance(until, str) else tuple(until)
        room = self._max_new_tokens or int(given.get("max_gen_toks", 256))
        return room, tuple(one for one in stop if one)
