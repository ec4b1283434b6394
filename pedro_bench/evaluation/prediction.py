"""Predict a split: generate or rank answers, score them with the task's metric.

An encoder labels with its head, whatever the evaluation is.
With ranking alone the likeliest candidates are the answers. With both, the generated answers are,
and the scores of the ranked ones are added as `likelihood_<metric>`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pedro_bench.evaluation.config import (
    AnyEvaluation,
    BothConfig,
    EvaluationConfig,
    LikelihoodConfig,
)
from pedro_bench.evaluation.decoding import generate
from pedro_bench.evaluation.labelling import Labeller, label
from pedro_bench.evaluation.likelihood import Continue, rank
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.task import Example, Task


@dataclass(frozen=True)
class Prediction:
    """What a model said to every example of a split.

    Attributes:
        texts: Generated text of each example, in order; the ranked answer where none is generated.
        answers: The answer that the task took out of each text.
        scores: Metric name -> value, as the task scores them.
        ranked: The likeliest candidate of each example, where answers were ranked.
    """

    texts: tuple[str, ...]
    answers: tuple[str, ...]
    scores: Mapping[str, float]
    ranked: tuple[str, ...] | None = None


def predict(
    adapted: Labeller,
    task: Task,
    examples: Sequence[Example],
    prompts: Sequence[Encoded],
    config: AnyEvaluation,
    *,
    continued: Continue | None = None,
) -> Prediction:
    """Answer every example and score the answers.

    Args:
        adapted: The adapted model.
        task: The task the examples belong to.
        examples: The examples, with their gold answers.
        prompts: The same examples, encoded, in the same order.
        config: Whether and how to generate and to rank.
        continued: Tokenises candidates as answers of their prompts; needed where they are ranked.

    Raises:
        DataError: If an example has no candidates to rank.
        TrainingError: If the device runs out of memory.
    """
    if adapted.backbone.kind == "encoder" and task.head is not None:
        labels = label(adapted, prompts, batch_size=config.batch_size)
        said = [task.extract(text, one) for text, one in zip(labels, examples, strict=True)]
        return Prediction(tuple(labels), tuple(said), task.score(said, examples))
    ranked = None
    if isinstance(config, LikelihoodConfig | BothConfig):
        if continued is None:
            raise TypeError("predict needs `continued` where candidates are ranked")
        ranked = rank(
            adapted,
            examples,
            prompts,
            continued,
            length_normalised=config.length_normalised,
            batch_size=config.batch_size,
        )
    if not isinstance(config, EvaluationConfig):
        chosen = tuple(ranked or ())
        return Prediction(chosen, chosen, task.score(chosen, examples), chosen)
    texts = generate(
        adapted,
        prompts,
        num_beams=config.num_beams,
        max_new_tokens=task.max_new_tokens,
        batch_size=config.batch_size,
        length_penalty=config.length_penalty,
        no_repeat_ngram_size=config.no_repeat_ngram_size,
        ending=task.ending,
    )
    answers = [task.extract(text, one) for text, one in zip(texts, examples, strict=True)]
    scores = task.score(answers, examples)
    if ranked is None:
        return Prediction(tuple(texts), tuple(answers), scores)
    of_ranked = {
        f"likelihood_{name}": value for name, value in task.score(ranked, examples).items()
    }
    return Prediction(tuple(texts), tuple(answers), {**scores, **of_ranked}, tuple(ranked))
