"""Tasks as lm-evaluation-harness has them: its prompts, examples, filters and metrics.

Only the rows are given to it, from local files or from the Hub. Each task is evaluated by itself, and
journaled once it is whole. Neither of the harness's caches is used: one keeps
responses by request whichever model gave them, the other keeps requests by the task's name.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pedro_bench.errors import ConfigError, DataError, near_match
from pedro_bench.instruct.benchmark_rows import SHOTS


@dataclass(frozen=True)
class _Suite:
    folder: str
    prefix: str
    metric: str
    filter: str


_SUITES = {
    "mmlu": _Suite("mmlu/default", "mmlu_", "acc", "none"),
    "bbh": _Suite("bbh/cot_fewshot", "bbh_cot_fewshot_", "exact_match", "get-answer"),
}
_LETTERS = "ABCD"
NO_ANSWER = "[invalid]"
"""What the harness's filter makes of a text in which no answer is stated."""

_STATED = re.compile(r"the answer is ([^\n]*)")
_SENTENCE_END = re.compile(r"[.!]+(?:\s|$)")


@dataclass(frozen=True)
class TaskResult:
    """What came of one task.

    Attributes:
        accuracy: Share of right answers in percent, as the harness reports it.
        rows: For each row its index, prediction, target, whether it counts, and the raw response; for BBH
            also `corrected`, the answer that `stated_answer` reads, and whether that one is right.
    """

    accuracy: float
    rows: tuple[Mapping[str, Any], ...]


def stated_answer(text: str) -> str:
    """Return the answer that a BBH response states, whole, or NO_ANSWER where it states none.

    The harness's filter takes the rest of the line after the first "the answer is " without its last
    character: `True.` gives `True`, but `True` gives `Tru`, and `True. ` gives `True.`. This function
    takes the same line up to the end of its first sentence. No target of BBH has a sentence end inside.
    """
    found = _STATED.search(text)
    said = _SENTENCE_END.split(found[1], maxsplit=1)[0].strip() if found else ""
    return said or NO_ANSWER


def require_harness(suite: str) -> str:
    """Return the version of lm-evaluation-harness, which a suite needs, without importing it.

    Raises:
        ConfigError: If it is not installed.
    """
    if find_spec("lm_eval") is None:
        raise ConfigError(
            f"suite={suite} needs the package lm_eval, got none installed: install it with pip install "
            "'pedro_bench[instruct]'."
        )
    return metadata.version("lm_eval")


def task_names(suite: str, chosen: Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the tasks to evaluate, in the harness's order.

    Raises:
        ConfigError: If a chosen one is not the harness's.
    """
    known = _known(suite)
    for name in chosen or ():
        if name not in known:
            raise ConfigError(
                f"tasks must name tasks of suite={suite}, got {name!r}.{near_match(name, known)}"
            )
    return tuple(name for name in known if chosen is None or name in chosen)


def evaluate_task(
    lm: Any, suite: str, task: str, rows: Mapping[str, Sequence[Mapping[str, Any]]]
) -> TaskResult:
    """Evaluate one task of a suite on the given rows: `test`, and `dev` where examples come from the data.

    Raises:
        DataError: If the harness cannot make requests of the rows.
    """
    form = _SUITES[suite]
    name = f"{form.prefix}{task}"
    metrics, samples = run_task(lm, form.folder, name, rows, num_fewshot=SHOTS[suite])
    return TaskResult(
        accuracy=100 * float(metrics[f"{form.metric},{form.filter}"]),
        rows=tuple(
            _kept(suite, one, form.metric) for one in samples if one["filter"] == form.filter
        ),
    )


def run_task(
    lm: Any,
    folder: str,
    task: str,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    num_fewshot: int,
    seed: int = 0,
    **changes: Any,
) -> tuple[Mapping[str, Any], list[Mapping[str, Any]]]:
    """Evaluate a task file of the harness on rows of ours.

    Args:
        lm: A model of the harness.
        folder: Folder of the task's file under the harness's `tasks/`.
        task: Name of the task.
        rows: Split -> rows, with the columns of the task's data set.
        num_fewshot: Examples in front of each question.
        seed: Seed that the examples are drawn with, where they are drawn.
        changes: Other keys of the task's file to replace.

    Returns:
        `metric,filter` -> value, and the harness's sample of each row and filter.

    Raises:
        DataError: If the task shows another number of examples.
    """
    from datasets import Dataset
    from lm_eval.evaluator import evaluate

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    given = {split: Dataset.from_list(list(part)) for split, part in rows.items()}
    changed = {
        "task": task,
        "custom_dataset": lambda **_: given,
        "num_fewshot": num_fewshot,
        **changes,
    }
    loaded = _manager(folder).load([{"group": "pedro_bench", "task": [changed]}])
    found = loaded["tasks"][task]
    shots = found.config.num_fewshot
    if shots != num_fewshot:
        raise DataError(f"task {task!r} must show {num_fewshot} examples, got {shots}.")
    found.set_fewshot_seed(seed)
    results = evaluate(
        lm=lm, task_dict=loaded, cache_requests=False, bootstrap_iters=0, log_samples=True
    )
    return results["results"][task], results["samples"][task]


def _known(suite: str) -> tuple[str, ...]:
    prefix = "mmlu_" if suite == "mmlu" else ""
    folder = _tasks_folder() / _SUITES[suite].folder
    names = (path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("_"))
    return tuple(sorted(name.removeprefix(prefix) for name in names))


def _tasks_folder() -> Path:
    spec = find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        require_harness("mmlu")
        raise ConfigError("the package lm_eval must be a folder of modules, got something else.")
    return Path(spec.submodule_search_locations[0]) / "tasks"


@lru_cache(maxsize=8)
def _manager(folder: str) -> Any:
    """Return the harness's manager of the tasks in a folder, without the thousands of others."""
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=_tasks_folder() / folder, include_defaults=False)


def _kept(suite: str, sample: Mapping[str, Any], metric: str) -> dict[str, Any]:
    """Return what is recorded of one row."""
    row = {"index": int(sample["doc_id"]), "correct": bool(sample[metric])}
    if suite == "mmlu":
        scores = [float(score) for score, _ in sample["filtered_resps"]]
        prediction = _LETTERS[max(range(len(scores)), key=lambda at: scores[at])]
        target = _LETTERS[int(sample["target"])]
        return {**row, "prediction": prediction, "target": target, "response": scores}
    said, target = sample["resps"][0][0], str(sample["target"])
    corrected = stated_answer(said)
    return {
        **row,
        "prediction": str(sample["filtered_resps"][0]),
        "corrected": corrected,
        "target": target,
        "corrected_correct": corrected == target.strip(),
        "response": said,
    }
