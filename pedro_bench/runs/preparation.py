"""What all seeds of a configuration share: its splits, encoded, and the backbone, loaded once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import torch

from pedro_bench.data.encoding import Encoding, continuation_ids
from pedro_bench.data.encoding_cache import Limits, encode_cached
from pedro_bench.data.splits import Splits, load_splits, with_fewer_test_rows
from pedro_bench.data.text_pairs import encode_pairs
from pedro_bench.errors import ConfigError, PedroBenchError
from pedro_bench.evaluation.config import AnyEvaluation
from pedro_bench.evaluation.prediction import predict
from pedro_bench.nn.adapted_model import AdaptedModel, head_for
from pedro_bench.nn.sharding import shard
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.batch import Encoded
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.settings import Settings
from pedro_bench.protocols.task import Example, Task
from pedro_bench.runs import costs
from pedro_bench.runs.environment import fit_threads, resolve_device
from pedro_bench.runs.forgetting import PlainText, unchanged
from pedro_bench.runs.processes import num_shares
from pedro_bench.training.state import stopping_rows


@dataclass(frozen=True)
class DevScore:
    """Scores an adapted model on dev rows.

    Attributes:
        task: The task, for the backbone's tokenizer.
        examples: The dev rows that decide (`training.state.stopping_rows`).
        prompts: The same rows, encoded as test rows are.
        evaluation: How they are answered.
    """

    task: Task
    examples: Sequence[Example]
    prompts: Sequence[Encoded]
    evaluation: AnyEvaluation

    def of(self, adapted: AdaptedModel) -> float:
        """Return the main metric in percent; the model is in training mode again afterwards if it was.

        Raises:
            DataError: If an example has no candidates to rank.
            TrainingError: If the device runs out of memory.
        """
        found = predict(
            adapted,
            self.task,
            self.examples,
            self.prompts,
            self.evaluation,
            continued=partial(continuation_ids, adapted.backbone.tokenizer),
        )
        return found.scores[self.task.main_metric]


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What all seeds of a configuration share; `task` is the settings' for the backbone's tokenizer."""

    settings: Settings
    task: Task
    backbone: LoadedBackbone
    fingerprint: str
    splits: Splits
    scoring: Sequence[str]
    encodings: Mapping[str, Encoding]
    device: str
    check: Callable[[], None]
    dev_score: DevScore | None
    text: PlainText | None
    bare: tuple[int, int] | None


def prepare(settings: Settings, check: Callable[[], None]) -> Prepared:
    """Load and divide the data, load the backbone, encode the splits."""
    splits = splits_of(settings, settings.task)
    scoring = settings.task.scoring_notes(splits["test"].examples)
    device = resolve_device(settings.device)
    backbone, fingerprint = _loaded(settings.backbone, device)
    task = settings.task.for_tokenizer(backbone.tokenizer)
    if task is not settings.task:
        splits = splits_of(settings, task)
    head = head_for(backbone, settings.task)
    if head is not None and settings.evaluation.forgetting is not None:
        raise ConfigError(
            "evaluation.forgetting must be null with an encoder, which predicts no next token, got "
            f"{settings.evaluation.forgetting!r} with backbone={backbone.name}: leave it out."
        )
    encodings = {}
    for name in ("train", "dev", "test"):
        place = f"split {name} of task {task.name}"
        with_answers = name != "test"
        examples: Sequence[Example] = splits[name].examples
        encodings[name] = _encoded(
            settings, backbone, examples, head, place, with_answers=with_answers
        )
    dev_score = None
    if settings.trainer.is_best_by_metric:
        dev = splits["dev"].examples
        dev_score = _dev_score(settings, task, backbone, head, dev, encodings["dev"])
    text = None
    if settings.evaluation.forgetting is not None:
        size = settings.evaluation.batch_size
        text = PlainText(settings.evaluation.forgetting, backbone, settings.max_tokens, size)
    bare = _bare_operations(backbone, head, settings.max_tokens) if num_shares() == 1 else None
    return Prepared(
        settings=settings,
        task=task,
        backbone=backbone,
        fingerprint=fingerprint,
        splits=splits,
        scoring=scoring,
        encodings=encodings,
        device=device,
        check=check,
        dev_score=dev_score,
        text=text,
        bare=bare,
    )


def _dev_score(
    settings: Settings,
    task: Task,
    backbone: LoadedBackbone,
    head: Head | None,
    dev: Sequence[Example],
    encoding: Encoding,
) -> DevScore:
    """Return what scores dev rows; a decoder's prompts are encoded anew, as the test's are."""
    examples = stopping_rows(dev, settings.trainer.eval_rows)
    prompts: Sequence[Encoded] = stopping_rows(encoding.encoded, settings.trainer.eval_rows)
    if head is None:
        examples = task.scored_examples(examples)
        place = f"split dev of task {task.name}, of the rows that are answered"
        prompts = _encoded(settings, backbone, examples, head, place, with_answers=False).encoded
    return DevScore(task, examples, prompts, settings.evaluation)


def splits_of(settings: Settings, task: Task) -> Splits:
    """Load and divide a task's data; of the test rows those stay that the evaluation answers."""
    return with_fewer_test_rows(
        load_splits(task, settings.data), task, settings.evaluation.test_rows
    )


def _encoded(
    settings: Settings,
    backbone: LoadedBackbone,
    examples: Sequence[Example],
    head: Head | None,
    place: str,
    *,
    with_answers: bool,
) -> Encoding:
    """Encode examples for a head, or for a decoder with their answers or with room for one.

    An error gets the place in front.
    """
    try:
        if head is not None:
            return encode_pairs(backbone.tokenizer, examples, head, max_length=settings.max_tokens)
        room = 0 if with_answers else room_beside(settings, backbone, examples)
        limits = Limits(settings.max_tokens, with_answers, room)
        cache = Path(settings.output_dir) / "cache" / "encodings"
        return encode_cached(backbone.tokenizer, examples, limits, cache)
    except PedroBenchError as error:
        raise type(error)(f"{place}: {error}") from None


def _bare_operations(
    backbone: LoadedBackbone, head: Head | None, max_tokens: int
) -> tuple[int, int]:
    """Return the tokens of a prompt, and the operations of the bare backbone's pass over it."""
    tokens = max(1, min(costs.TOKENS, max_tokens - 1))
    with unchanged(backbone, head) as bare:
        return tokens, costs.operations(bare, tokens)


def room_beside(settings: Settings, backbone: LoadedBackbone, examples: Sequence[Example]) -> int:
    """Return the tokens to keep beside these prompts, so that all that follows them has positions."""
    room, positions = settings.task.max_new_tokens, backbone.shape.max_positions
    if not settings.evaluation.ranks or positions is None:
        return room
    spare = positions - settings.method.num_positions - settings.max_tokens
    if all(len(word.encode()) + 2 <= spare for one in examples for word in one.candidates):
        return room
    pairs = [(one, word) for one in examples for word in one.candidates]
    return max(room, *(len(ids) - spare for ids in continuation_ids(backbone.tokenizer, pairs)))


@lru_cache(maxsize=1)
def _loaded(config: Backbone, device: str) -> tuple[LoadedBackbone, str]:
    """Load a backbone once for all configurations of this process that share it."""
    shares = num_shares()
    backbone = config.load(device=device if shares == 1 else "cpu")
    fit_threads(backbone.shape.num_parameters, device)
    if shares > 1:
        shard(backbone, torch.device(device), shares)
    return backbone, backbone.fingerprint()


def forget_backbone() -> None:
    """Let the next configuration load its backbone anew: the one that is kept may have been changed."""
    _loaded.cache_clear()
