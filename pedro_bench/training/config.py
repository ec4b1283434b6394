"""TrainerConfig: the training protocol as one frozen dataclass that checks itself.

`conf/trainer/*.yaml` builds it; `paper.yaml` is the protocol that is reproduced, and every default
here is that protocol's value (or the Hugging Face Trainer's, where the paper says nothing). Nothing
in this module imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pedro_bench import checks
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.task import SMALL_TASK_ROWS

PRECISIONS = ("auto", "fp32", "bf16")
"""`auto` is bf16 autocast on a GPU and float32 elsewhere."""

LR_SCHEDULER_TYPES = ("linear", "cosine", "constant", "constant_with_warmup", "inverse_sqrt")
"""Schedules of Transformers that need no settings of their own; `optimiser.schedule_factor` has them."""

HEAD_INITS = ("transformers", "pytorch")
"""How an encoder's head starts: as Transformers' heads do, or as PyTorch's linear maps (`nn.task_head`)."""

METRICS_FOR_BEST_MODEL = ("loss", "main_metric")
"""What is compared at each evaluation: the dev loss, or the task's main metric on the same dev rows."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, how fast and in which portions a method is trained.

    Attributes:
        name: The YAML's name; stands in records.
        label: Name as printed in tables.
        lr: Learning rate, unless the method brings its own (`method.lr` wins). Above 0.
        weight_decay: AdamW's decay of matrices; that of vectors, biases and scalars with `decays_vectors`.
        decays_vectors: Whether vectors, biases and scalars are decayed too.
        beta1: AdamW's decay rate of the first moment, in [0, 1).
        beta2: AdamW's decay rate of the second moment, in [0, 1).
        eps: AdamW's denominator offset. Above 0.
        lr_scheduler_type: One of LR_SCHEDULER_TYPES, as in Transformers; `constant` has no warm-up.
        warmup_ratio: Part of all steps in which the learning rate rises from 0, in [0, 1].
        warmup_steps: Steps in which it rises, in place of `warmup_ratio`; null: the ratio counts.
        label_smoothing_factor: Part of the loss that is the mean of -log p over the vocabulary, in
            [0, 1); in the dev loss too, as in Transformers.
        num_epochs: Most passes over the training rows.
        max_steps: Most optimiser steps, or null for no bound beside `num_epochs`.
        batch_size: Examples per optimiser step, or null for the paper's rule (16 or 128).
        group_by_length: Whether examples of like length share a step: less padding, and a token among
            short answers then counts for more.
        micro_batch_size: Examples per forward pass, or null for the whole batch.
        micro_batch_tokens: Positions per forward pass on each device, padding included, in training and
            for the dev loss, or null for no bound.
        metric_for_best_model: One of METRICS_FOR_BEST_MODEL: the adapter of the lowest dev loss is the
            best, or that of the best main metric, in percent; answers to the dev rows are then made as
            the test's are, at every evaluation. Of equal ones the earliest counts.
        eval_rows: Most dev rows of an evaluation, the same for every run of a task, or null for all; bilevel
            training on the dev split takes all.
        eval_batch_size: Examples per forward pass of the dev loss, or null for `micro_batch_size`.
        max_length: Longest prompt and answer together, in tokens; read where examples are encoded.
        eval_every_steps: Optimiser steps between two evaluations.
        eval_every_epochs: Passes over the training rows between two evaluations, in place of
            `eval_every_steps`; null: the steps count.
        patience: Evaluations without a better adapter after which training stops, or null to train to
            the end.
        max_grad_norm: Gradients are scaled down to this norm, above 0; null: they are not.
        head_init: One of HEAD_INITS, of an encoder's head; read where a method is attached.
        head_dropout: Probability of dropping a feature in an encoder's head, in [0, 1), or null for the
            backbone's.
        precision: One of PRECISIONS.
        gradient_checkpointing: Recompute activations in the backward pass to save memory.
        checkpoint_every_steps: Optimiser steps between two checkpoints, or null for at evaluations
            only.
        rates: Name of a file of conf/rates that has chosen rates and other settings by backbone, method
            and task, or null; its choices stand in their own settings.
        tried: How `rates` found the method's rate (trials, their most steps and epochs, range, seeds,
            tasks, date), or null; for people.
        architecture_lr: Learning rate of the `architecture` group under bilevel training, or null
            for that of the weights.
        architecture_weight_decay: AdamW's decay of the `architecture` group under bilevel training.
    """

    name: str = "paper"
    label: str = "paper"
    lr: float = 1e-4
    weight_decay: float = 0.0
    decays_vectors: bool = checks.later(False, neutral=False)
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    lr_scheduler_type: str = checks.later("linear", neutral="linear")
    warmup_ratio: float = 0.06
    warmup_steps: int | None = checks.later(None, neutral=None)
    label_smoothing_factor: float = checks.later(0.0, neutral=0.0)
    num_epochs: int = 10
    max_steps: int | None = None
    batch_size: int | None = None
    group_by_length: bool = False
    micro_batch_size: int | None = None
    micro_batch_tokens: int | None = 8192
    metric_for_best_model: str = checks.later("loss", neutral="loss")
    eval_rows: int | None = checks.later(None, neutral=None)
    eval_batch_size: int | None = None
    max_length: int = 2048
    eval_every_steps: int = 200
    eval_every_epochs: int | None = checks.later(None, neutral=None)
    patience: int | None = 10
    max_grad_norm: float | None = 1.0
    head_init: str = checks.later("transformers", neutral="transformers")
    head_dropout: float | None = checks.later(None, neutral=None)
    precision: str = "auto"
    gradient_checkpointing: bool = False
    checkpoint_every_steps: int | None = 50
    rates: str | None = None
    tried: Mapping[str, Any] | None = None
    architecture_lr: float | None = None
    architecture_weight_decay: float = 0.0

    version: ClassVar[int] = 1
    """Raised whenever the same settings train other numbers: steps, random streams, loss, bilevel turns,
    phases; enters the key of a run."""
    moves_no_number: ClassVar[frozenset[str]] = frozenset(
        {
            "name",
            "label",
            "rates",
            "tried",
            "lr",
            "checkpoint_every_steps",
            "gradient_checkpointing",
        }
    )
    """Settings that are no part of a run's key: names, exact ones, and `lr`, which stands there as the rate
    in force. Portion sizes are part of it: they change the rounding of sums."""

    def __post_init__(self) -> None:
        checks.text("trainer.name", self.name)
        checks.text("trainer.label", self.label)
        checks.text("trainer.rates", self.rates, optional=True)
        for key in ("num_epochs", "max_length", "eval_every_steps"):
            checks.integer(f"trainer.{key}", getattr(self, key))
        for key in (
            "max_steps",
            "batch_size",
            "micro_batch_size",
            "micro_batch_tokens",
            "eval_batch_size",
            "eval_rows",
            "eval_every_epochs",
            "patience",
            "checkpoint_every_steps",
        ):
            checks.integer(f"trainer.{key}", getattr(self, key), optional=True)
        checks.integer("trainer.warmup_steps", self.warmup_steps, least=0, optional=True)
        self._check_numbers()
        checks.choice("trainer.precision", self.precision, PRECISIONS)
        checks.choice(
            "trainer.metric_for_best_model", self.metric_for_best_model, METRICS_FOR_BEST_MODEL
        )
        checks.choice("trainer.lr_scheduler_type", self.lr_scheduler_type, LR_SCHEDULER_TYPES)
        checks.choice("trainer.head_init", self.head_init, HEAD_INITS)
        checks.flag("trainer.decays_vectors", self.decays_vectors)
        checks.flag("trainer.group_by_length", self.group_by_length)
        checks.flag("trainer.gradient_checkpointing", self.gradient_checkpointing)

    def _check_numbers(self) -> None:
        checks.number("trainer.lr", self.lr, above=0)
        checks.number("trainer.architecture_lr", self.architecture_lr, above=0, optional=True)
        checks.number("trainer.weight_decay", self.weight_decay, least=0)
        checks.number("trainer.architecture_weight_decay", self.architecture_weight_decay, least=0)
        checks.number("trainer.beta1", self.beta1, least=0, below=1)
        checks.number("trainer.beta2", self.beta2, least=0, below=1)
        checks.number("trainer.eps", self.eps, above=0)
        checks.number("trainer.warmup_ratio", self.warmup_ratio, least=0, most=1)
        checks.number(
            "trainer.label_smoothing_factor", self.label_smoothing_factor, least=0, below=1
        )
        checks.number("trainer.max_grad_norm", self.max_grad_norm, above=0, optional=True)
        checks.number("trainer.head_dropout", self.head_dropout, least=0, below=1, optional=True)

    @property
    def is_best_by_metric(self) -> bool:
        """Whether the main metric on the dev rows decides which adapter is best, not the dev loss."""
        return self.metric_for_best_model == "main_metric"

    def resolved_batch_size(self, official_train_rows: int) -> int:
        """Return the examples per optimiser step: the setting, or the paper's rule by official train rows."""
        if self.batch_size is not None:
            return self.batch_size
        return 16 if official_train_rows < SMALL_TASK_ROWS else 128

    def evaluation_interval(self, steps_per_epoch: int) -> int:
        """Return the optimiser steps between two evaluations, from those of a pass over the training rows."""
        if self.eval_every_epochs is None:
            return self.eval_every_steps
        return self.eval_every_epochs * steps_per_epoch

    def resolved_lr(self, method: Method) -> float:
        """Return the rate in force: the method's own, else ours."""
        return self.lr if method.lr is None else method.lr

    def resolved_architecture_lr(self, method: Method) -> float:
        """Return the rate of the `architecture` group: the method's own, else ours, else the weights'."""
        return method.architecture_lr or self.architecture_lr or self.resolved_lr(method)
