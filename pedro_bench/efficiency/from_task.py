"""A workload from a task's test split: its prompts, and as many new tokens as its answers have."""

from pedro_bench.data.encoding import encode
from pedro_bench.data.splits import load_splits
from pedro_bench.efficiency.request import Request
from pedro_bench.efficiency.workload import Item
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.data import DataSource
from pedro_bench.protocols.task import Task


def items_of(
    backbone: LoadedBackbone, task: Task, source: DataSource, request: Request, max_length: int
) -> list[Item]:
    """Return the first `request.prompts` rows; each answer is at least two tokens long.

    Prompts are shortened to `max_length`, or to the backbone's positions where these are fewer.

    Raises:
        DataError: If the data cannot be read.
    """
    examples = load_splits(task, source)["test"].examples[: request.prompts]
    limit = min(max_length, backbone.shape.max_positions or max_length)
    encoded = encode(backbone.tokenizer, examples, max_length=limit, with_answers=True).encoded
    return [Item(one.prompt_ids, max(2, len(one.answer_ids))) for one in encoded]
