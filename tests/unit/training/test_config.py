"""TrainerConfig: the paper's protocol, its rules, and its messages."""

import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from pedro_bench.errors import ConfigError
from pedro_bench.training.config import TrainerConfig
from tests.tiny import build_method


def from_yaml(conf: Any, name: str) -> TrainerConfig:
    config = instantiate(OmegaConf.load(conf / f"{name}.yaml"))
    assert isinstance(config, TrainerConfig)
    return config


@pytest.fixture
def conf(pytestconfig: pytest.Config) -> Any:
    return pytestconfig.rootpath / "conf" / "trainer"


def test_paper_yaml_is_the_published_protocol(conf: Any) -> None:
    paper = from_yaml(conf, "paper")
    assert (paper.lr, paper.warmup_ratio, paper.num_epochs) == (1e-4, 0.06, 10)
    assert (paper.max_steps, paper.max_length) == (None, 2048)
    assert (paper.eval_every_steps, paper.patience) == (200, 10)
    assert [paper.resolved_batch_size(rows) for rows in (2_490, 9_999, 10_000, 87_599)] == [
        16,
        16,
        128,
        128,
    ]
    assert paper == TrainerConfig(), "the defaults stand in two places and must agree"


def test_micro_yaml_is_short(conf: Any) -> None:
    micro = from_yaml(conf, "micro")
    assert micro.name == "micro"
    assert micro.max_steps is not None
    assert micro.eval_every_steps * micro.patience < micro.max_steps
    assert micro.resolved_batch_size(87_599) == 16


def test_red_yaml_has_the_optimiser_and_the_head_of_the_authors_code(conf: Any) -> None:
    paper, own = (OmegaConf.load(conf / f"{name}.yaml") for name in ("paper", "red"))
    del own["defaults"]
    red = instantiate(OmegaConf.merge(paper, own))
    assert (red.eps, red.max_grad_norm, red.decays_vectors) == (1e-6, None, True)
    assert (red.head_init, red.head_dropout) == ("pytorch", 0.5)
    assert (red.beta1, red.beta2, red.lr_scheduler_type) == (0.9, 0.999, "linear")


def test_the_learning_rate_in_force(lora: Any) -> None:
    """`method.lr` wins over the trainer's."""
    trainer = TrainerConfig(lr=1e-3)
    assert trainer.resolved_lr(lora) == 1e-3
    assert trainer.resolved_lr(replace(lora, lr=5e-2)) == 5e-2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, r"trainer\.lr must be a number above 0, got 0\."),
        ({"lr_scheduler_type": "cosin"}, r"trainer\.lr_scheduler_type .*'cosin'.*cosine"),
        ({"lr_scheduler_type": "polynomial"}, r"trainer\.lr_scheduler_type must be .*'polynomial'"),
        ({"lr_scheduler_type": None}, r"trainer\.lr_scheduler_type must be one of .* got None"),
        (
            {"label_smoothing_factor": 1.0},
            r"trainer\.label_smoothing_factor must be a number at least 0 and below 1, got 1\.0",
        ),
        (
            {"metric_for_best_model": "main_metrics"},
            r"trainer\.metric_for_best_model must be .*'main_metrics'.*Did you mean 'main_metric'",
        ),
        ({"label_smoothing_factor": -0.1}, r"trainer\.label_smoothing_factor .* got -0\.1"),
        ({"label_smoothing_factor": "0.1"}, r"trainer\.label_smoothing_factor .* got '0\.1'"),
        ({"lr": "fast"}, r"trainer\.lr must be a number above 0, got 'fast'\."),
        ({"batch_size": 0}, r"trainer\.batch_size must be .* at least 1 or null, got 0\."),
        ({"patience": 0}, r"trainer\.patience must be .* at least 1 or null, got 0\."),
        ({"eval_every_epochs": 0}, r"trainer\.eval_every_epochs .* at least 1 or null, got 0\."),
        ({"warmup_steps": -1}, r"trainer\.warmup_steps .* at least 0 or null, got -1\."),
        ({"max_steps": 2.5}, r"trainer\.max_steps must be a whole number .*, got 2\.5\."),
        ({"warmup_ratio": 1.5}, r"trainer\.warmup_ratio must be .*at most 1.*, got 1\.5\."),
        ({"beta2": 1.0}, r"trainer\.beta2 must be .*, got 1\.0\."),
        ({"precision": "bf61"}, r"trainer\.precision must be .*'bf61'.*Did you mean 'bf16'"),
        ({"gradient_checkpointing": 1}, r"trainer\.gradient_checkpointing must be true or false"),
    ],
)
def test_a_bad_value_is_told_in_one_sentence(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainerConfig(**change)


def test_configuration_is_read_without_torch() -> None:
    code = (
        "import sys, pedro_bench.training.config, pedro_bench.training.tracking;"
        "sys.exit(int(bool({'torch', 'accelerate', 'wandb', 'numpy'} & set(sys.modules))))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_architecture_lr_is_the_methods_else_the_trainers_else_that_of_the_weights() -> None:
    own = build_method("ssp")
    none = replace(own, architecture_lr=None)
    plain, set_ = TrainerConfig(lr=0.3), TrainerConfig(lr=0.3, architecture_lr=0.2)
    assert own.architecture_lr == 0.1
    found = [[c.resolved_architecture_lr(m) for c in (plain, set_)] for m in (own, none)]
    assert found == [[0.1, 0.1], [0.3, 0.2]]
