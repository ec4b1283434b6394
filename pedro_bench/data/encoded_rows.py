"""Encoded rows: the token ids of a split's examples, packed into arrays of two or four bytes a token."""

from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, overload

from pedro_bench.protocols.batch import Encoded

if TYPE_CHECKING:
    Ids = array[int]
else:
    Ids = array  # not subscriptable before Python 3.12


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
