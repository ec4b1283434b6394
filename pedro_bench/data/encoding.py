"""Encoding: examples as token ids, fitted to the length limit without touching question or answer.

    sequence = prompt ids (with beginning-of-sequence token) + answer ids + end-of-sequence token

The answer follows the prompt after one space. Its ids are what the tokenizer adds when it reads the
prompt with its answer, so prompt and answer together are tokenised as one text wherever the
tokenizer leaves the prompt's ids as they are (it does where the prompt ends in a colon); else the
answer is tokenised alone. In decoding the same prompt ids are used, so the model continues what it
was trained on.
"""

import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pedro_bench.errors import DataError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example

if TYPE_CHECKING:
    Ids = array[int]
else:
    Ids = array  # not subscriptable before Python 3.12

_MOST_OF_TWO_BYTES = 2**16
"""Tokens that two bytes tell apart; Llama-2's 32,000 are fewer, Gemma's 256,000 are more."""

_CHUNK = 512
"""Examples tokenised at once; bounds the memory that the tokenizer's own records take."""


class Packed:
    """Lists of token ids behind each other in one array of two or four bytes a token.

    Attributes:
        ids: All of them.
        lengths: How many each list has.
    """

    def __init__(self, ids: Ids, lengths: Ids) -> None:
        self.ids = ids
        self.lengths = lengths
        self._ends = array("q", accumulate(lengths, initial=0))

    def __getitem__(self, row: int) -> tuple[int, ...]:
        return tuple(self.ids[self._ends[row] : self._ends[row + 1]])

    @classmethod
    def of(cls, rows: list[Ids]) -> "Packed":
        """Pack lists, which are emptied on the way, so that they never lie in memory twice."""
        lengths = array("i", map(len, rows))
        ids = array(rows[0].typecode if rows else "i")
        nothing = array(ids.typecode)
        for place, row in enumerate(rows):
            ids.extend(row)
            rows[place] = nothing
        return cls(ids, lengths)


class EncodedRows(Sequence[Encoded]):
    """Encoded examples, held packed; an `Encoded` is made when asked for.

    Attributes:
        prompts: Token ids of each prompt.
        answers: Token ids of each answer, empty without answers.
    """

    def __init__(self, prompts: Packed, answers: Packed) -> None:
        self.prompts = prompts
        self.answers = answers

    def __len__(self) -> int:
        return len(self.prompts.lengths)

    @overload
    def __getitem__(self, place: int) -> Encoded: ...
    @overload
    def __getitem__(self, place: slice) -> list[Encoded]: ...
    def __getitem__(self, place: int | slice) -> Encoded | list[Encoded]:
        rows = range(len(self))[place]
        return self._row(rows) if isinstance(rows, int) else [self._row(row) for row in rows]

    def _row(self, row: int) -> Encoded:
        return Encoded(self.prompts[row], self.answers[row], row)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as for lists


@dataclass(frozen=True)
class Encoding:
    """Encoded examples of one split.

    Attributes:
        encoded: One `Encoded` an example, in order; `index` is the row of the split.
        truncated: Examples whose prompt was shortened to fit.
        lost_answers: Those of them whose gold answer was in the prompt before and no longer is.
        uncut: Row -> tokens of its prompt before it was shortened, for those examples.
        cut_answers: Examples whose answer was cut at its end, its end-of-sequence token with it.
    """

    encoded: Sequence[Encoded]
    truncated: int
    lost_answers: int
    uncut: Mapping[int, int] = field(default_factory=dict)
    cut_answers: int = 0


def encode(
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    max_length: int,
    with_answers: bool,
    max_new_tokens: int = 0,
) -> Encoding:
    """Turn examples into token ids of at most `max_length`.

    An open-ended answer that does not fit behind its prompt is cut at its end, to a quarter of
    `max_length` at the least. Otherwise only parts of the prompt that can shrink are shortened, from
    their end.

    Args:
        tokenizer: A Hugging Face tokenizer.
        examples: The examples of a split, in order.
        max_length: Most tokens of prompt and answer together, end-of-sequence token included.
        with_answers: Whether to append the answers; without them `answer_ids` is empty.
        max_new_tokens: Room kept beside the prompt for decoding, in tokens, even where the answer
            is shorter.

    Raises:
        DataError: If an example cannot fit, or the tokenizer has no end-of-sequence token.
    """
    coder = _Coder(tokenizer)
    prompts, answers = coder.encode(examples, with_answers)
    whole = [len(answer) for answer in answers]
    _fit_answers(examples, prompts, answers, max_length)
    room = [max_length - max(len(answer), max_new_tokens) for answer in answers]
    long = {
        row: _Cut(row, examples[row], len(prompts[row]) - room[row])
        for row in range(len(examples))
        if len(prompts[row]) > room[row]
    }
    uncut = {row: len(prompts[row]) for row in long}
    cuts = list(long.values())
    for cut, points in zip(cuts, coder.cut_points([cut.text for cut in cuts]), strict=True):
        cut.points, cut.keep = points, len(points)
    while cuts:
        for cut in cuts:
            cut.shorten(max_length)
        shorter = [cut.example for cut in cuts]
        tried = coder.encode(shorter, with_answers)
        _fit_answers(shorter, *tried, max_length)
        for cut, prompt, answer in zip(cuts, *tried, strict=True):
            prompts[cut.row], answers[cut.row] = prompt, answer
            cut.excess = len(prompt) + max(len(answer), max_new_tokens) - max_length
        cuts = [cut for cut in cuts if cut.excess > 0]
    lost = sum(
        example.extractive and _has_gold(example) and not _has_gold(long[row].example)
        for row, example in enumerate(examples)
        if row in long
    )
    cut_answers = sum(len(a) < length for a, length in zip(answers, whole, strict=True))
    packed = EncodedRows(Packed.of(prompts), Packed.of(answers))
    return Encoding(packed, len(long), lost, uncut, cut_answers)


def _fit_answers(
    examples: Sequence[Example], prompts: list[Ids], answers: list[Ids], max_length: int
) -> None:
    """Cut open-ended answers that do not fit behind their prompts."""
    for row, example in enumerate(examples):
        if example.open_ended and len(prompts[row]) + len(answers[row]) > max_length:
            answers[row] = answers[row][: max(max_length - len(prompts[row]), max_length // 4)]


def continuation_ids(tokenizer: Any, texts: Sequence[tuple[str, str]]) -> list[Ids]:
    """Return the ids that each answer adds to its prompt, as `encode` makes them.

    Args:
        tokenizer: A Hugging Face tokenizer.
        texts: Pairs of prompt and answer, neither cut.

    Raises:
        DataError: If the tokenizer has no end-of-sequence token.
    """
    return _Coder(tokenizer).answer_ids(texts)


class _Cut:
    """An example that is too long, and how much of it is kept."""

    def __init__(self, row: int, example: Example, excess: int) -> None:
        self.row = row
        self.example = example
        self.excess = excess
        self.points: list[int] = []
        self.keep = 0
        self._first_excess = excess
        self._beginning = example.prompt[:60]
        places = [at for at, part in enumerate(example.parts) if part.can_shrink]
        self._place = places[-1] if places else None
        self.text = "" if self._place is None else example.parts[self._place].text

    def shorten(self, max_length: int) -> None:
        """Cut as many tokens as the example has too many from the end of what can shrink.

        Raises:
            DataError: If nothing is left to cut.
        """
        if self._place is None or self.keep == 0:
            raise DataError(
                f"row {self.row} must fit into {max_length} tokens, got "
                f"{max_length + self._first_excess}, of which {max_length + self.excess} may not "
                "be cut (the prompt without its long text, and the answer): raise "
                f"trainer.max_length; the row begins {self._beginning!r}."
            )
        self.keep = max(0, self.keep - self.excess)
        end = self.points[self.keep - 1] if self.keep else 0
        parts = list(self.example.parts)
        parts[self._place] = replace(parts[self._place], text=self.text[:end].rstrip())
        self.example = replace(self.example, parts=tuple(parts))


class _Coder:
    """A tokenizer that knows which special tokens it puts around a text."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise DataError(
                "the tokenizer must have an end-of-sequence token to end answers with, got none."
            )
        self.tokenizer = tokenizer
        self.typecode = "H" if len(tokenizer) <= _MOST_OF_TWO_BYTES else "i"
        tokenizer("a", truncation=False, padding=False)  # clears both in the fast tokenizer itself
        self.eos = int(tokenizer.eos_token_id)
        bare = self._ids(["a"], special=False)[0]
        whole = self._ids(["a"], special=True)[0]
        starts = [at for at in range(len(whole)) if whole[at : at + len(bare)] == bare]
        self._tail = len(whole) - starts[0] - len(bare) if starts and bare else 0

    def encode(
        self, examples: Sequence[Example], with_answers: bool
    ) -> tuple[list[Ids], list[Ids]]:
        """Return prompt ids and answer ids; the latter are empty without answers."""
        prompts = [ids for part in _chunks(examples) for ids in self.prompt_ids(_prompts(part))]
        if not with_answers:
            return prompts, [array(self.typecode)] * len(prompts)
        return prompts, self.answer_ids((one.prompt, one.answer) for one in examples)

    def prompt_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Tokenise texts with the special tokens before a sequence, without those behind it."""
        found = self._ids(texts, special=True)
        return [ids[: len(ids) - self._tail] for ids in found] if self._tail else found

    def answer_ids(self, texts: Iterable[tuple[str, str]]) -> list[Ids]:
        """Return the ids that answers add to their prompts, end-of-sequence token last.

        No tokenizer in use joins text across lines, so only a prompt's last line is read with its
        answer, and pairs that have both in common share one result.

        Args:
            texts: Pairs of prompt and answer.
        """
        keys = [(prompt.rpartition("\n")[2], answer) for prompt, answer in texts]
        distinct = list(dict.fromkeys(keys))
        lines = list(dict.fromkeys(line for line, _ in distinct))
        alone = dict(zip(lines, self.prompt_ids(lines), strict=True))
        wholes = self.prompt_ids([f"{line} {answer}" for line, answer in distinct])
        found = {
            key: self._added(key[1], alone[key[0]], whole)
            for key, whole in zip(distinct, wholes, strict=True)
        }
        return [found[key] for key in keys]

    def _added(self, answer: str, prompt: Ids, whole: Ids) -> Ids:
        """Return what an answer adds to its prompt's ids, and the end-of-sequence token."""
        end = array(self.typecode, [self.eos])
        if not answer:
            return end
        added = whole[len(prompt) :] if whole[: len(prompt)] == prompt else None
        return (added or self._ids([f" {answer}"], special=False)[0]) + end

    def cut_points(self, texts: Sequence[str]) -> list[list[int]]:
        """Return where each text's tokens end, in characters (its words, for slow tokenizers)."""
        if not self.tokenizer.is_fast:
            return [[match.end() for match in re.finditer(r"\S+", text)] for text in texts]
        backend = self.tokenizer.backend_tokenizer
        return [
            [end for _, end in found.offsets]
            for chunk in _chunks(texts)
            for found in backend.encode_batch(list(chunk), add_special_tokens=False)
        ]

    def _ids(self, texts: Sequence[str], special: bool) -> list[Ids]:
        if not self.tokenizer.is_fast:
            slow = (self.tokenizer(text, add_special_tokens=special) for text in texts)
            return [array(self.typecode, found["input_ids"]) for found in slow]
        backend = self.tokenizer.backend_tokenizer
        return [
            array(self.typecode, found.ids)
            for chunk in _chunks(texts)
            for found in backend.encode_batch_fast(list(chunk), add_special_tokens=special)
        ]


def _prompts(examples: Sequence[Example]) -> list[str]:
    return [example.prompt for example in examples]


_Item = TypeVar("_Item")


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]


def _has_gold(example: Example) -> bool:
    """Whether a gold answer stands in a part of the prompt that may be cut."""
    return any(
        gold in part.text for part in example.parts if part.can_shrink for gold in example.golds
    )
