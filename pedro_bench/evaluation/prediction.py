"""Predict a split: generate, take the answers out of the text, score them with the task's metric."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pedro_bench.evaluation.batches import Adapted, Progress
from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.evaluation.decoding import generate
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example, Task


@dataclass(frozen=True)
class Prediction:
    """What a model said to every example of a split.

    Attributes:
        texts: Generated text of each example, in order.
        answers: The answer that the task took out of each text.
        scores: Metric name -> value, as the task scores them.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    scores: Mapping[str, float]


def predict(
    adapted: Adapted,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Encoded],
    config: EvaluationConfig,
    *,
    progress: Progress | None = None,
) -> Prediction:
    """Answer every example and score the answers.

    Args:
        adapted: The adapted model.
        task: The task the examples belong to.
        examples: The examples, with their gold answers.
        prompts: The same examples, encoded, in the same order.
        config: How to generate.
        progress: Called after each batch with the numbers of finished and of all prompts.

    Raises:
        TrainingError: If the device runs out of memory.
    """
    texts = generate(
        adapted,
        prompts,
        num_beams=config.num_beams,
        max_new_tokens=task.max_new_tokens,
        batch_size=config.batch_size,
        length_penalty=config.length_penalty,
        progress=progress,
    )
    answers = [task.extract(text, one) for text, one in zip(texts, examples, strict=True)]
    return Prediction(tuple(texts), tuple(answers), task.score(answers, examples))
