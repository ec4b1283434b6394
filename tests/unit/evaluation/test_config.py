"""The settings of generation check themselves; the shipped YAML is the paper's protocol."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.errors import ConfigError
from pedro_bench.evaluation.config import EvaluationConfig
from tests.tiny import read_yaml

ROOT = Path(__file__).parents[3]


def test_shipped_settings() -> None:
    values = read_yaml(ROOT / "conf" / "evaluation" / "generation.yaml")
    assert values.pop("_target_") == "pedro_bench.evaluation.config.EvaluationConfig"
    config = EvaluationConfig(**values)
    assert config == EvaluationConfig(name="generation")
    assert (config.num_beams, config.length_penalty) == (3, 1.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", "", r"evaluation\.name must be a text, not empty, got ''"),
        ("num_beams", 0, r"evaluation\.num_beams must be a whole number of at least 1, got 0"),
        ("num_beams", 2.0, r"evaluation\.num_beams must be a whole number of at least 1, got 2\.0"),
        ("batch_size", -3, r"evaluation\.batch_size must be .* at least 1, got -3"),
        ("no_repeat_ngram_size", -1, r"no_repeat_ngram_size must be .* at least 0, got -1"),
        ("no_repeat_ngram_size", 4.0, r"no_repeat_ngram_size must be a whole number .* got 4\.0"),
        ("no_repeat_ngram_size", True, r"no_repeat_ngram_size must be a whole .*, got True"),
        ("length_penalty", "long", r"evaluation\.length_penalty must be a number, got 'long'"),
    ],
)
def test_bad_settings_are_refused(key: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluationConfig(**{"name": "generation", key: value})


def test_importing_the_settings_imports_no_torch() -> None:
    script = "import sys, pedro_bench.evaluation.config; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
