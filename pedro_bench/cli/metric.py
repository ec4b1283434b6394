"""`pedro_bench.metric("squad")`: a task's official scoring as an `evaluate.Metric`."""

from typing import TYPE_CHECKING, Any

from pedro_bench import checks
from pedro_bench.cli.hydra.compose import configuration_of
from pedro_bench.protocols.settings import build_group
from pedro_bench.protocols.task import Task

if TYPE_CHECKING:
    from pedro_bench.runs.task_metric import TaskMetric


def metric(task: str, *overrides: str, **options: Any) -> "TaskMetric":
    """Return the metric of a task.

    Args:
        task: Name of the task, as in `task=…`.
        overrides: Settings as on the command line, such as `task.entities_field=null`.
        options: Passed on to `evaluate.Metric`, such as `keep_in_memory` or `experiment_id`.

    Raises:
        ConfigError: If there is no such task, or a setting is wrong.
    """
    checks.text("task", task)
    for override in overrides:
        checks.text("an override", override)
    config = configuration_of([f"task={task}", *overrides])
    built: Task = build_group("task", config["task"])
    from pedro_bench.runs.task_metric import TaskMetric

    return TaskMetric(built, **options)
