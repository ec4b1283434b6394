"""Coder: token ids of prompts and of the answers behind them, in arrays of two or four bytes a token."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeVar, overload

from pedro_bench.data.text_tokens import TextTokens
from pedro_bench.errors import DataError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example, Part

if TYPE_CHECKING:
    Ids = array[int]
else:
    Ids = array  # not subscriptable before Python 3.12


class Packed:
    """Lists of token ids behind each other in one array of two or four bytes a token, with their lengths."""

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
    """Encoded examples, held packed (answers may be empty); an `Encoded` is made when asked for."""

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


_MOST_OF_TWO_BYTES = 2**16
"""Tokens that two bytes can number; Llama-2's 32,000 are fewer, Gemma's 256,000 are more."""

_CHUNK = 512
"""Examples tokenised at once; bounds the memory that the tokenizer's own records take."""


class Coder:
    """A tokenizer that knows which special tokens it puts around a text."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.eos_token_id is None:
            raise DataError(
                "the tokenizer must have an end-of-sequence token to end answers with, got none."
            )
        self.tokenizer = tokenizer
        self._texts = TextTokens(tokenizer)
        self.typecode = "H" if len(tokenizer) <= _MOST_OF_TWO_BYTES else "i"
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.no_truncation()
            tokenizer.backend_tokenizer.no_padding()
        self.eos = int(tokenizer.eos_token_id)
        bare = self._ids(["a"], special=False)[0]
        whole = self._ids(["a"], special=True)[0]
        starts = [at for at in range(len(whole)) if whole[at : at + len(bare)] == bare]
        self._tail = len(whole) - starts[0] - len(bare) if starts and bare else 0

    def encode(
        self, examples: Sequence[Example], with_answers: bool
    ) -> tuple[list[Ids], list[Ids]]:
        """Return prompt ids and answer ids; the latter are empty without answers."""
        prompts = [
            ids
            for part in _chunks(examples)
            for ids in self.prompt_ids([self._texts.prompt_of(one.parts) for one in part])
        ]
        if not with_answers:
            return prompts, [array(self.typecode)] * len(prompts)
        return prompts, self.answer_ids((one, one.answer) for one in examples)

    def count_misread(self, examples: Sequence[Example], with_answers: bool) -> int:
        """Return how many examples hold control tokens that the tokenizer cannot read as text."""
        return self._texts.count_misread(examples, with_answers)

    def plain_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Tokenise texts of data without special tokens around them."""
        return self._ids(texts, special=False)

    def prompt_ids(self, texts: Sequence[str]) -> list[Ids]:
        """Tokenise texts of `prompt_of` with the special tokens before a sequence, not those behind it."""
        found = self._ids(texts, special=True)
        return [ids[: len(ids) - self._tail] for ids in found] if self._tail else found

    def answer_ids(self, pairs: Iterable[tuple[Example, str]]) -> list[Ids]:
        """Return the ids that answers add to their prompts, end-of-sequence token last.

        No tokenizer in use joins text across lines, so only a prompt's last line is read with its
        answer, and pairs that have both in common share one result. What a chat template joins is read whole.

        Args:
            pairs: Examples, and the answer to the prompt of each.
        """
        keys = [(self._context(one), self._said(one, answer)) for one, answer in pairs]
        distinct = list(dict.fromkeys(keys))
        lines = list(dict.fromkeys(line for line, _ in distinct))
        alone = dict(zip(lines, self.prompt_ids(lines), strict=True))
        wholes = self.prompt_ids([f"{line}{said}" for line, said in distinct])
        found = {
            key: self._added(key[1], alone[key[0]], whole)
            for key, whole in zip(distinct, wholes, strict=True)
        }
        return [found[key] for key in keys]

    def _context(self, one: Example) -> str:
        prompt = self._texts.prompt_of(one.parts)
        return prompt.rpartition("\n")[2] if one.joint else prompt

    def _said(self, one: Example, answer: str) -> str:
        """Return what follows a prompt, with marks for its ending's control tokens; empty for nothing."""
        ending = self._texts.prompt_of((Part(one.ending, is_template=True),))
        return f"{one.joint}{answer}{ending}" if answer or ending else ""

    def _added(self, said: str, prompt: Ids, whole: Ids) -> Ids:
        """Return what an answer adds to its prompt's ids, and the end-of-sequence token."""
        end = array(self.typecode, [self.eos])
        if not said:
            return end
        added = whole[len(prompt) :] if whole[: len(prompt)] == prompt else None
        return (added or self.plain_ids([said])[0]) + end

    def cut_points(self, texts: Sequence[str]) -> list[list[int]]:
        """Return where each text's tokens end, in characters (its words, for slow tokenizers)."""
        return [ends for chunk in _chunks(texts) for ends in self._texts.ends(chunk)]

    def _ids(self, texts: Sequence[str], special: bool) -> list[Ids]:
        return [
            array(self.typecode, ids)
            for chunk in _chunks(texts)
            for ids in self._texts.ids(chunk, special=special)
        ]


_Item = TypeVar("_Item")


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
