"""Virtual tokens take positions: prompt and answer have so many fewer."""

from types import SimpleNamespace

import pytest

from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import tokens_left
from tests.tiny import build_method

LONG = SimpleNamespace(max_positions=None)


@pytest.mark.parametrize(
    ("name", "left"), [("lora", 2048), ("ptuning_v2", 1984), ("infix_tuning", 1984)]
)
def test_what_is_left_of_the_length_limit(name, left):
    assert tokens_left(2048, build_method(name), LONG) == left


def test_a_limit_that_leaves_nothing_is_refused():
    with pytest.raises(
        ConfigError,
        match=r"trainer\.max_length must be above the 64 positions that method 'ptuning_v2' .* got 64",
    ):
        tokens_left(64, build_method("ptuning_v2"), LONG)
    with pytest.raises(ConfigError, match=r"^max_length must be above the 64 positions"):
        tokens_left(1, build_method("lpt"), LONG, "max_length")


def test_every_command_reads_the_same_limit():
    from pedro_bench.cli.hydra.compose import settings_of

    assert settings_of(["method=lpt", "task=boolq", "trainer=paper"]).max_tokens == 1984
    assert settings_of(["method=pedro", "task=boolq", "trainer=paper"]).max_tokens == 2048
