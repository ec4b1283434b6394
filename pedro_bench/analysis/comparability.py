"""Comparability: when the scores of two cells may be compared, so that a difference is the methods'.

Records of one task and backbone are in one column by their names. A name says neither how long a run was
trained (`trainer.max_steps`), nor how long an answer could be (`task.max_new_tokens`), nor which rows it
read (`data.holdout`), nor which weights lay at `backbone.path`, nor by which version of a metric it was
scored, nor which judge graded it. Cells that differ in any of these `conditions` are shown, and not compared.

- What a record does not hold is no difference.
- Rows of one method may differ in settings of trainer and evaluation: their names say in what.
- Where both records name the weights and these are the same, it does not matter from where they came.
- Speed and memory are compared within one run of a measurement alone.

Other seeds, numbers of processes and commits are listed under a table (`disagreements`), and compared all the
same: processes divide a batch, which moves a loss by rounding alone and dropout by chance, and a commit need
not move a number. A new version of a component does by definition.
"""

from collections.abc import Iterable
from itertools import combinations

from pedro_bench.analysis.conditions import RUN, Conditions

OTHER_PROTOCOLS, OTHER_RUNS = "different protocols", "measured in different runs"
"""What begins a reason why two cells that have runs cannot be compared."""


def reason_against(one: Conditions | None, other: Conditions | None) -> str:
    """Return why two cells cannot be compared, empty where they can."""
    if one is None or other is None:
        return ""
    names = _names_of_differences(one, other)
    if RUN in names:
        return OTHER_RUNS
    found = [
        f"{name} {', '.join(one.texts(name))} and {', '.join(other.texts(name))}" for name in names
    ]
    return f"{OTHER_PROTOCOLS} ({'; '.join(found)})" if found else ""


def are_shared(cells: Iterable[Conditions | None]) -> bool:
    """Whether every two of some cells can be compared."""
    having = [one for one in cells if one is not None]
    if all(one.agrees(having[0]) for one in having):
        return True
    return not any(_names_of_differences(one, other) for one, other in combinations(having, 2))


def _names_of_differences(one: Conditions, other: Conditions) -> list[str]:
    """Return the facts and settings that both cells hold, should agree in, and do not."""
    if one.agrees(other):
        return []
    facts = [name for name, own in one.facts.items() if own != other.facts.get(name, own)]
    if "weights" in one.facts and one.facts["weights"] == other.facts.get("weights"):
        facts = [name for name in facts if not name.startswith("backbone.")]
    if one.method == other.method:
        return facts
    settings = [name for name, own in one.settings.items() if own != other.settings.get(name, own)]
    return facts + settings
