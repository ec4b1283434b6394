"""No dead knobs: another value of any setting of any method trains another model, or is refused.

Every YAML in conf/method and every field of its class, found by listing; then every setting of the trainer
and of generation that enters a key. Each run is the real trainer,
all phases of the method, on a tiny backbone; the outcome is the trained model's logits on a fixed
batch, compared bit for bit. The control: another name trains the same bits.
"""

import itertools
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import SimpleNamespace, UnionType
from typing import Any, get_args, get_origin

import pytest
import torch

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import PedroBenchError
from pedro_bench.evaluation.config import EvaluationConfig
from pedro_bench.evaluation.prediction import predict
from pedro_bench.methods.lora import Lora
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.batch import Encoded, collate
from pedro_bench.protocols.method import Method
from pedro_bench.seeding import seed_torch
from pedro_bench.training.config import LR_SCHEDULER_TYPES, TrainerConfig
from pedro_bench.training.trainer import train
from tests.tiny import METHOD_NAMES, build_method, save_tiny

NAMES = ("name", "label", "tuned")  # the last one is for cli.tune alone
"""What a method is called; these alone may leave the outcome as it is."""

OTHER_VALUES: dict[str, list[Any]] = {
    "LearnedAdapters.architecture_lr": [
        1.0,
        1e-4,
    ],  # a little more or less finds the same structure
    "LoReft.layers": [[1, 3]],
}
"""`Class.field` -> other values to try, where no rule of `other_values` can find one that acts."""

# A given structure is trained without a search.
_FOUND = {"bilevel": "none", "architecture_lr": None}

BESIDE: dict[str, dict[str, Any]] = {
    "Ssp.structure": _FOUND | {"structure": ["layers.0.query.lora_0"]},
    "LearnedAdapters.structure": _FOUND | {"structure": ["attn_out.identity"] * 4},
}
"""`Class.field` of a class or one it derives from -> settings beside which the knob acts."""

STEPS = (3, 40)
"""Optimiser steps of a run; the second only where the first shows no difference (schedules)."""

NUM_LAYERS = 4
"""Layers of the tiny backbone: enough for knobs that say where a method acts."""

Knob = tuple[str, str]
KNOBS = [
    (name, knob.name)
    for name in METHOD_NAMES
    for knob in fields(build_method(name))
    if knob.name not in NAMES
]


def words_beside(value: str, kind: type) -> list[str]:
    """Other words of the tuples of words that the method's module, or its bases', lists."""
    modules = [vars(sys.modules[base.__module__]) for base in kind.__mro__]
    tuples = [item for module in modules for item in module.values() if isinstance(item, tuple)]
    known = [item for item in tuples if item and all(isinstance(word, str) for word in item)]
    return [word for item in known if value in item for word in item if word != value]


def entry(table: dict[str, Any], kind: type, field: str) -> Any:
    """Return what a table says of a field under the name of its class or one it derives from."""
    keys = [f"{base.__name__}.{field}" for base in kind.__mro__]
    return next((table[key] for key in keys if key in table), None)


def other_values(method: Method, knob: "Field[Any]") -> list[Any]:
    """Return other values of a field, by its type and present value, in the order to be tried."""
    kind = type(method)
    listed = entry(OTHER_VALUES, kind, knob.name)
    if listed is not None:
        return list(listed)
    value = getattr(method, knob.name)
    types = get_args(knob.type) if isinstance(knob.type, UnionType) else (knob.type,)
    rules: list[tuple[bool, Callable[[], list[Any]]]] = [
        (bool in types, lambda: [not value]),
        (value is None and int in types, lambda: [3, 1]),
        (value is None and float in types, lambda: [0.013]),
        (int in types, lambda: [value + 1, 2 * value, value // 2, value - 1]),
        (float in types, lambda: [value * 1.5, value * 0.5] if value else [0.25]),
        (isinstance(value, str), lambda: words_beside(value, kind)),
        (
            tuple in map(get_origin, types) and bool(value),
            lambda: [value[1:], *([word] for word in words_beside(str(value[0]), kind))],
        ),
    ]
    found = next((rule() for applies, rule in rules if applies), [])
    assert found, (
        f"no other value of {kind.__name__}.{knob.name} is known beside {value!r}: write the words it "
        "can be as a tuple in the method's module, or add it to OTHER_VALUES"
    )
    return found


def rows(count: int, seed: int) -> list[Encoded]:
    generator = random.Random(seed)
    made = []
    for index in range(count):
        prompt = [generator.randrange(4, 40) for _ in range(generator.randrange(3, 9))]
        made.append(Encoded((1, *prompt), (prompt[0], 2), index))
    return made


class Outcomes:
    """Runs methods on one tiny backbone and remembers what each gave."""

    def __init__(self, checkpoint: Path, work: Path) -> None:
        self.backbone = Pretrained(name="tiny", label="tiny", path=str(checkpoint)).load(
            device="cpu"
        )
        self.folders = (work / str(number) for number in itertools.count())
        self.batch = collate(rows(6, 3), pad_id=0)
        self.known: dict[tuple[str, int], torch.Tensor] = {}

    def of(self, method: Method, steps: int, **changes: Any) -> torch.Tensor:
        """Return the trained model's logits (N, V); keywords change the trainer's settings."""
        key = (f"{method!r} {changes!r}", steps)
        if key not in self.known:
            self.known[key] = self.run(method, steps, changes)
        return self.known[key]

    def run(self, method: Method, steps: int, changes: dict[str, Any]) -> torch.Tensor:
        folder = next(self.folders)
        following: Method | None = method
        for phase in itertools.count():
            seed_torch(0, "init", phase)
            adapted = AdaptedModel(self.backbone, following or method)
            try:
                self.train(adapted, steps, phase, folder, changes)
                with torch.no_grad():
                    logits_NV = adapted.answer_logits(self.batch)[0]
                following = adapted.method.following(adapted.adapter)
            finally:
                adapted.remove()
            if following is None:
                break
        shutil.rmtree(folder)
        return logits_NV

    def train(
        self, adapted: AdaptedModel, steps: int, phase: int, folder: Path, changes: dict[str, Any]
    ) -> None:
        settings = {
            "lr": 2e-2,
            "warmup_ratio": 0.0,
            "num_epochs": steps,
            "max_steps": steps,
            "batch_size": 8,
            "eval_every_steps": steps,
        }
        train(
            adapted,
            train=rows(24, 1),
            dev=rows(8, 2),
            config=TrainerConfig(**{**settings, **changes}),
            official_train_rows=24,
            seed=0,
            key="key",
            folder=folder,
            phase=phase,
        )


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcomes]:
    root = tmp_path_factory.mktemp("knobs")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    checkpoint = save_tiny(root / "backbone", num_hidden_layers=NUM_LAYERS)
    yield Outcomes(checkpoint, root / "runs")
    torch.set_num_threads(threads)


def verdict(method: Method, field: str, outcomes: Outcomes) -> str:
    """Return `acts`, `refused` (every other value is, with the key's name) or `dead`."""
    method = replace(method, **(entry(BESIDE, type(method), field) or {}))
    knob = next(knob for knob in fields(method) if knob.name == field)
    values = other_values(method, knob)
    for steps in STEPS:
        base = outcomes.of(method, steps)
        for value in list(values):
            try:
                if not torch.equal(outcomes.of(replace(method, **{field: value}), steps), base):
                    return "acts"
            except PedroBenchError as error:
                values.remove(value)
                assert f"method.{field}" in str(error), "the key must be named"  # noqa: PT017
        if not values:
            return "refused"
    return "dead"


@pytest.mark.parametrize(("name", "field"), KNOBS, ids=[".".join(knob) for knob in KNOBS])
def test_another_value_trains_another_model_or_is_refused(
    name: str, field: str, outcomes: Outcomes
) -> None:
    assert verdict(build_method(name), field, outcomes) in ("acts", "refused")


@pytest.mark.parametrize("name", METHOD_NAMES)
def test_another_name_trains_the_same_bits(name: str, outcomes: Outcomes) -> None:
    method = build_method(name)
    renamed = replace(method, name="renamed", label="Renamed")
    assert torch.equal(outcomes.of(renamed, STEPS[0]), outcomes.of(method, STEPS[0]))


def test_the_tables_name_real_knobs() -> None:
    methods = [build_method(name) for name in METHOD_NAMES]
    known = {
        f"{base.__name__}.{knob.name}"
        for method in methods
        for base in type(method).__mro__
        for knob in fields(method)
        if is_dataclass(base) and knob.name in {one.name for one in fields(base)}
    }
    assert {*OTHER_VALUES, *BESIDE} <= known


TRAINER: dict[str, list[Any]] = {
    "lr": [1e-2],
    "weight_decay": [0.5],
    "beta1": [0.5],
    "beta2": [0.9],
    "eps": [1e-3],
    "lr_scheduler_type": list(LR_SCHEDULER_TYPES[1:]),
    "warmup_ratio": [0.5],
    "warmup_steps": [3],
    "label_smoothing_factor": [0.1, 0.5],
    "num_epochs": [1],
    "max_steps": [3],
    "batch_size": [4],
    "group_by_length": [True],
    "max_grad_norm": [1e-3, None],
    "precision": ["bf16"],
}
"""Setting of the trainer that enters a key -> other values, each of which trains another model."""

TRAINER_ELSEWHERE = {
    "max_length",  # read where rows are encoded
    "head_init",  # of an encoder's head
    "head_dropout",
    "decays_vectors",  # with a decay alone
    "architecture_lr",  # of bilevel methods alone
    "architecture_weight_decay",
    "eval_every_steps",  # which adapter is the best, and when training ends
    "eval_every_epochs",
    "patience",
    "micro_batch_size",  # rounding of sums
    "micro_batch_tokens",
    "eval_batch_size",
    "eval_rows",
    "metric_for_best_model",
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, own in TRAINER.items() for value in own]
)
def test_another_value_of_the_trainer_trains_another_model(
    field: str, value: Any, outcomes: Outcomes
) -> None:
    method, own = build_method("lora", dropout=0.0), {"lr": 2e-2}
    steps = 9  # three epochs of three batches
    base = outcomes.of(method, steps, **own)
    assert not torch.equal(outcomes.of(method, steps, **{**own, field: value}), base)


def test_every_setting_of_the_trainer_is_tried_or_named() -> None:
    known = {one.name for one in fields(TrainerConfig)}
    assert {*TRAINER, *TRAINER_ELSEWHERE} == known - TrainerConfig.moves_no_number | {"lr"}
    assert not TRAINER_ELSEWHERE & set(TRAINER)


GENERATION: dict[str, Any] = {"num_beams": 1, "length_penalty": -3.0, "no_repeat_ngram_size": 2}


@pytest.mark.parametrize("field", GENERATION)
def test_another_value_of_the_evaluation_gives_other_answers(
    field: str, outcomes: Outcomes
) -> None:
    task: Any = SimpleNamespace(
        max_new_tokens=8, ending="", extract=lambda text, _: text, score=lambda *_: {"acc": 0.0}
    )
    adapted = AdaptedModel(outcomes.backbone, build_method("full_ft"))
    head = outcomes.backbone.model.get_output_embeddings()
    kept = head.weight.detach().clone()
    try:
        with torch.no_grad():
            head.weight[2] *= 3.0  # the end of answers of many lengths is likely
        config = EvaluationConfig(name="generation")
        texts = [
            predict(adapted, task, [None] * 12, rows(12, 5), one).texts  # type: ignore[list-item]
            for one in (config, replace(config, **{field: GENERATION[field]}))
        ]
    finally:
        with torch.no_grad():
            head.weight.copy_(kept)
        adapted.remove()
    assert texts[0] != texts[1]


def test_every_setting_of_generation_is_tried_or_moves_nothing() -> None:
    others = {
        "name",
        "batch_size",
        "test_rows",
        "forgetting",
    }  # the last one comes after the answers
    assert {*GENERATION, *others} == {one.name for one in fields(EvaluationConfig)}


@dataclass(frozen=True, kw_only=True)
class Unread(Lora):
    """A method with a knob that nobody reads."""

    strength: float = 1.0


def test_a_dead_knob_is_found(outcomes: Outcomes) -> None:
    method = Unread(name="unread", label="", r=2, alpha=4.0, dropout=0.0, roles=("query", "value"))
    assert verdict(method, "strength", outcomes) == "dead"
    assert verdict(method, "alpha", outcomes) == "acts"
    assert verdict(method, "bilevel", outcomes) == "refused"
