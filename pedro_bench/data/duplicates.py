"""Duplicates: rows with equal prompts, which are drawn together or not at all.

Which rows are drawn is decided by a hash of each row's text and a seed, so that the order of a file
does not matter.
"""

from collections import defaultdict
from collections.abc import Sequence

from pedro_bench.protocols.task import Example
from pedro_bench.seeding import derive


def draw(
    examples: Sequence[Example], size: int, seed: int, purpose: str
) -> tuple[list[Example], list[Example]]:
    """Draw whole groups of duplicates, together as near to `size` rows as they allow, never above it.

    Returns:
        The rows drawn and the rows left, both in the order of `examples`.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, example in enumerate(examples):
        groups[example.identity].append(index)
    order = sorted(groups, key=lambda identity: (derive(seed, purpose, identity), identity))
    drawn: set[int] = set()
    for position in choose_groups([len(groups[identity]) for identity in order], size):
        drawn.update(groups[order[position]])
    taken = [example for index, example in enumerate(examples) if index in drawn]
    left = [example for index, example in enumerate(examples) if index not in drawn]
    return taken, left


def choose_groups(sizes: Sequence[int], target: int) -> list[int]:
    """Choose groups, early ones first, whose sizes add up as near below `target` as can be.

    Args:
        sizes: Size of each group, at least 1, in the order of preference.
        target: Wanted sum, at least 0.

    Returns:
        Positions of the chosen groups.
    """
    chosen, total = [], 0
    for position, size in enumerate(sizes):
        if total + size <= target:
            chosen.append(position)
            total += size
    return chosen if total == target else _best_groups(sizes, target)


def _best_groups(sizes: Sequence[int], target: int) -> list[int]:
    """Solve the subset sum exactly; bit k of a number says whether the sum k can be reached."""
    limit = (1 << (target + 1)) - 1
    reachable = [1]
    for size in sizes:
        reachable.append((reachable[-1] | reachable[-1] << size) & limit)
    total = reachable[-1].bit_length() - 1
    chosen = []
    for position in range(len(sizes) - 1, -1, -1):
        if not reachable[position] >> total & 1:
            chosen.append(position)
            total -= sizes[position]
    return sorted(chosen)


def without_duplicates(
    examples: Sequence[Example], later: Sequence[Example]
) -> tuple[list[Example], int]:
    """Leave out the examples whose duplicate stands in a later split, and count them."""
    known = {example.identity for example in later}
    kept = [example for example in examples if example.identity not in known]
    return kept, len(examples) - len(kept)
