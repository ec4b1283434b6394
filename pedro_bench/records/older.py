"""Records of earlier schemas, converted where they are read; nothing else knows of them.

Schema 1 told four facts in sentences: the backbone's weights, shortened prompts, the phases of training,
and the processes that share the backbone. They are fields since schema 2.
"""

import re
from collections.abc import Mapping
from typing import Any

_WEIGHTS = re.compile(r"The backbone's weights are (.+)\.")
_SHARES = re.compile(r"The backbone's layers were split over (\d+) processes\.")
_SHORTENED = re.compile(
    r"(\d+) of \d+ (\w+) prompts were shortened to fit into (\d+) tokens(?:, and (\d+) lost their answer)?\."
)
_CUT = re.compile(r"(\d+) of \d+ (\w+) answers were cut at their end to fit into (\d+) tokens\.")
_SEARCHED = re.compile(
    r"The search trained (\d+) parameters and ended after (\d+) steps, (.+); what it found at step (\d+) "
    r"was then trained from scratch\."
)
_ENDED = re.compile(r"Training ended after (\d+) steps, (.+)\.")
_LOST = re.compile(r"(\d+) (?:contexts|prompts) lost tokens at their beginning .+\.")


def run_of_schema_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a run's record of schema 1 in the form of schema 2; its notes stay."""
    found: dict[str, Any] = {**content, "schema": 2}
    splits = {name: dict(split) for name, split in content.get("splits", {}).items()}
    phases: list[dict[str, Any]] = []
    for note in content.get("notes", ()):
        if match := _WEIGHTS.fullmatch(note):
            found["weights"] = match[1]
        elif match := _SHARES.fullmatch(note):
            found["shares"] = int(match[1])
        elif match := _SHORTENED.fullmatch(note):
            own = splits.setdefault(match[2], {})
            own |= {"shortened": int(match[1]), "lost_answers": int(match[4] or 0)}
            found["max_tokens"] = int(match[3])
        elif match := _CUT.fullmatch(note):
            splits.setdefault(match[2], {})["cut_answers"] = int(match[1])
            found["max_tokens"] = int(match[3])
        elif match := _SEARCHED.fullmatch(note):
            phases.append(_phase(match[1], match[2], match[4], match[3]))
        elif match := _ENDED.fullmatch(note):
            phases.append(_phase(None, match[1], content.get("best_step"), match[2]))
    return {**found, "splits": splits, "phases": phases}


def evaluation_of_schema_1(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of an evaluation's record of schema 1 in the form of schema 2."""
    lost = [match for note in content.get("notes", ()) if (match := _LOST.fullmatch(note))]
    return {**content, "schema": 2, "shortened": sum(int(match[1]) for match in lost)}


def _phase(trainable: str | None, steps: str, best_step: Any, how: str) -> dict[str, Any]:
    return {
        "trainable": None if trainable is None else int(trainable),
        "steps": int(steps),
        "best_step": None if best_step is None else int(best_step),
        "stopped_early": how.startswith("early"),
    }
