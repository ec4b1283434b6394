"""The batches of an evaluation that is under way, kept so that an interrupted task goes on where it was.

A batch is found again by its content (token ids and settings), and a result comes back as it was written.
The model is not part of that content: the journal's own name holds the key of the evaluation.
"""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from pedro_bench.instruct.record import Journal


class KeptBatches:
    """Results of batches by what went in.

    Args:
        journal: Where results are kept; None keeps nothing.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        entries = [] if journal is None else journal.entries
        self._found: dict[str, list[Any]] = {entry["batch"]: entry["results"] for entry in entries}

    def results(self, given: Any, make: Callable[[], list[Any]]) -> list[Any]:
        """Return what was kept for `given`, else what `make` returns, which is then kept.

        Args:
            given: All that decides the results but for the model; of lists, strings and numbers.
            make: Makes the results, one a row, of lists, strings, numbers and truth values.

        Raises:
            TrainingError: If the disk is full.
        """
        if self._journal is None:
            return make()
        name = hashlib.sha256(json.dumps(given).encode()).hexdigest()
        if name not in self._found:
            self._found[name] = make()
            self._journal.append({"batch": name, "results": self._found[name]})
        return self._found[name]
