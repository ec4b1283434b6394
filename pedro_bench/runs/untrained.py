"""What a backbone answers as it is, or with an adapter that is merged into it: no method, no training."""

from functools import partial

from pedro_bench.data.encoding import continuation_ids, encode
from pedro_bench.errors import ConfigError
from pedro_bench.evaluation.prediction import Prediction, predict
from pedro_bench.protocols.settings import Settings
from pedro_bench.protocols.task import Example, Task
from pedro_bench.runs.environment import fit_threads, resolve_device
from pedro_bench.runs.forgetting import unchanged
from pedro_bench.runs.preparation import room_beside, splits_of


def untrained(settings: Settings, split: str) -> tuple[list[Example], Prediction]:
    """Let the backbone of a configuration answer a split, as a run's evaluation would.

    Args:
        settings: The configuration; its method is not used.
        split: `train`, `dev` or `test`.

    Returns:
        The examples (of the test split those that `evaluation.test_rows` leaves), and what was said.

    Raises:
        ConfigError: If the backbone is an encoder, whose head needs training.
        PedroBenchError: If data or backbone cannot be loaded.
    """
    task = settings.task
    examples = _examples(settings, task, split)  # bad data is found before the backbone is loaded
    device = resolve_device(settings.device)
    backbone = settings.backbone.load(device=device)
    if backbone.kind == "encoder":
        raise ConfigError(
            f"backbone must be one that writes its answers to be scored without training, got "
            f"{backbone.name!r}, an encoder, whose head would be random: give predictions=FILE."
        )
    task = task.for_tokenizer(backbone.tokenizer)
    if task is not settings.task:
        examples = _examples(settings, task, split)
    fit_threads(backbone.shape.num_parameters, device)
    encoded = encode(
        backbone.tokenizer,
        examples,
        max_length=settings.max_tokens,
        with_answers=False,
        max_new_tokens=room_beside(settings, backbone, examples),
    ).encoded
    with unchanged(backbone) as bare:
        found = predict(
            bare.eval(),
            task,
            examples,
            encoded,
            settings.evaluation,
            continued=partial(continuation_ids, backbone.tokenizer),
        )
    return examples, found


def _examples(settings: Settings, task: Task, split: str) -> list[Example]:
    return list(splits_of(settings, task)[split].examples)
