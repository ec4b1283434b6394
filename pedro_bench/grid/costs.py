"""Costs: what a run will take, from a model of arithmetic and memory, where no record has it.

Time: a training token costs 4 N floating-point operations (2 N forward, 2 N back through frozen weights),
or 6 N where all weights are trained; a token that is only read costs 2 N. N is without the embedding, which
is looked up: half of MiniLM. Rows are the official ones, or those of the micro world, as far as
`trainer.eval_rows` and `evaluation.test_rows` let them. Examples have the mean length of the seven tasks
that the PEDRO paper reports, or the micro world's; tasks of short sentences have their own (SHORT); the
most steps are taken, since nobody knows when training stops early. With two levels a step reads two
batches, and after a search the found structure is trained (`batches_a_step`), with dev losses of its own. A
generated answer is as long as the task allows, in every beam, of the test rows and where the metric decides
of the dev rows; a ranked one is read together with its prompt, once for each candidate. RATES are operations
a second: 40% of an A40's 150e12 in bfloat16, and what the embedded backbone reaches on a CPU core. A step on
a GPU takes LAYER_SECONDS in each layer at least: three times an eager forward pass of Llama-2 7B on an H200,
which waits for the host.

Memory: the weights, quantised ones with their scales; 16 bytes for each trainable parameter (value, gradient
and AdamW's two moments in float32, 12 where the weights themselves are trained); for each token of a forward
pass 34 times the hidden size in every layer at two bytes a number (Korthikanti et al. 2022, without the
attention matrix, which is not kept), and its logits with their gradient in float32. The largest pass sets the
peak: its examples are padded to the longest one of BoolQ (4,879 characters, about 1,200 tokens; SQuAD's is
nearly as long), or of the micro world, and `trainer.max_length` and `trainer.micro_batch_tokens` bound it.

Both are good to a factor of two or three: enough for minutes or days, and for what fits and what does not.
"""

import math
from dataclasses import dataclass

from pedro_bench.backbones.quantising import weight_bytes
from pedro_bench.evaluation.config import BothConfig, EvaluationConfig, LikelihoodConfig
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import Settings
from pedro_bench.runs.environment import kind_of_device

RATES = {"cpu": 4e10, "cuda": 6e13}
LAYER_SECONDS = {"cpu": 0.0, "cuda": 2e-3}


@dataclass(frozen=True)
class _Sizes:
    """Rows of the splits, and tokens of a mean example and of the longest."""

    train: int
    dev: int
    test: int
    tokens: int = 279
    longest: int = 1200


SHORT = {"cola": 30, "copa": 45, "mrpc": 75, "rte": 100, "sst2": 33, "stsb": 50}
"""Task -> tokens of a mean example with its prompt, from 400 training rows each."""

_MICRO = _Sizes(train=4000, dev=400, test=800, tokens=60, longest=120)
_ROW_CANDIDATES = 12
"""Candidates where every row brings its own: ReCoRD's entities."""


@dataclass(frozen=True)
class Cost:
    """Wall time and peak memory that one run will take, and where the numbers come from."""

    seconds: float
    peak_bytes: float
    source: str


def modelled_cost(settings: Settings) -> Cost:
    """Estimate one seed's run from sizes alone."""
    device = kind_of_device(settings.device)
    shape = settings.backbone.shape()
    trained = settings.method.count(shape).trainable
    is_full = trained >= shape.num_parameters
    multiplied = shape.num_parameters - shape.vocab_size * shape.hidden_size
    seconds = max(
        _operations(settings, multiplied, is_full=is_full) / RATES[device],
        most_steps(settings)
        * batches_a_step(settings.method)
        * shape.num_layers
        * LAYER_SECONDS[device],
    )
    dtype = getattr(settings.backbone, "dtype", None) or (
        "float32" if device == "cpu" else "bfloat16"
    )
    number_bytes = 4 if dtype == "float32" else 2
    state = trained * (12 if is_full else 16)
    kept = 34 * shape.hidden_size * number_bytes / 2
    layers = shape.num_layers * kept
    if settings.trainer.gradient_checkpointing:
        layers = shape.num_layers * shape.hidden_size * number_bytes + kept
    activations = _positions(settings) * (layers + 8 * shape.vocab_size)
    weights = weight_bytes(shape, getattr(settings.backbone, "quantization", None), number_bytes)
    return Cost(seconds, weights + state + activations, "model")


def batches_a_step(method: Method) -> int:
    """Return how many batches are read for each step that the trainer counts, of all phases of a method.

    A search and the training after it take as many steps each; the search alone has two levels.
    """
    return (1 if method.bilevel == "none" else 2) + method.is_searching


def most_steps(settings: Settings) -> int:
    """Return the most optimiser steps that a run can take."""
    steps = math.ceil(_sizes(settings).train / _batch(settings)) * int(settings.trainer.num_epochs)
    bound: int | None = settings.trainer.max_steps
    return steps if bound is None else min(steps, bound)


def _operations(settings: Settings, size: int, *, is_full: bool) -> float:
    """Return the floating-point operations of training, of every dev loss, and of the test set."""
    trainer, sizes, steps = settings.trainer, _sizes(settings), most_steps(settings)
    tokens = sizes.tokens if sizes is _MICRO else SHORT.get(settings.task.name, sizes.tokens)
    length = min(tokens, int(trainer.max_length))
    batches = steps * batches_a_step(settings.method)
    training = batches * _batch(settings) * length * (6 if is_full else 4)
    interval = trainer.evaluation_interval(math.ceil(sizes.train / _batch(settings)))
    dev_rows = min(sizes.dev, trainer.eval_rows or sizes.dev)
    test_rows = min(sizes.test, settings.evaluation.test_rows or sizes.test)
    read = length
    if trainer.is_best_by_metric:
        read += _answering(settings, length)
    phases = 1 + settings.method.is_searching
    dev = phases * math.ceil(steps / interval) * dev_rows * read * 2  # the last step's too
    return float(size * (training + dev + test_rows * _answering(settings, length) * 2))


def _answering(settings: Settings, length: int) -> int:
    """Return the tokens that are read to answer a test example of so many tokens."""
    evaluation, task = settings.evaluation, settings.task
    tokens = 0
    if isinstance(evaluation, EvaluationConfig):
        tokens += length + evaluation.num_beams * task.max_new_tokens
    if isinstance(evaluation, LikelihoodConfig | BothConfig):
        shared = task.answers or getattr(task, "choices", ())
        tokens += (len(shared) or _ROW_CANDIDATES) * (length + task.max_new_tokens)
    return tokens


def _sizes(settings: Settings) -> _Sizes:
    """Return rows and lengths, as far as they are known without reading the data (`data.splits`)."""
    if settings.data.name == "micro":
        return _MICRO
    task = settings.task
    train, validation = task.official_rows
    if task.split_rule == "given":
        return _Sizes(train, validation, validation)
    share = settings.data.holdout
    if task.split_rule == "train_only" or (share is not None and not validation):
        validation = min(task.dev_rows, train // 4) if share is None else round(share * train)
        train -= validation
    if task.division in ("halves", "from_validation"):
        half = validation // 2
        dev = half if task.division == "halves" else min(task.dev_rows, half)
        return _Sizes(train, dev, validation - dev)
    dev = min(task.dev_rows, train // 4)
    return _Sizes(train - dev, dev, validation)


def _batch(settings: Settings) -> int:
    return int(settings.trainer.resolved_batch_size(settings.task.official_rows[0]))


def _positions(settings: Settings) -> int:
    """Return the tokens of the largest pass of training, padding included."""
    trainer = settings.trainer
    rows: int = trainer.micro_batch_size or _batch(settings)
    longest = min(_sizes(settings).longest, int(trainer.max_length))
    bound: int | None = trainer.micro_batch_tokens
    return rows * longest if bound is None else max(longest, min(rows * longest, bound))
