"""How long a tenant's prompt and answer may be: as long as its own run's."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import pedro_bench
from pedro_bench.errors import ConfigError, DataError
from pedro_bench.runs.saved import saved_adapter
from pedro_bench.serving import AdapterBank, TenantAdapter
from tests.tiny import build_method
from tests.unit.serving.test_other_kinds import HEADS, tenant_of

ROOM = 4
PROMPT = "cat " * 30 + "cat"  # 36 tokens with the beginning-of-sequence token and the answer


@pytest.mark.parametrize("order", [("short", "long"), ("long", "short")])
@pytest.mark.parametrize("method", ["pedro", "prompt_tuning"])
def test_a_tenant_is_served_with_its_runs_length(
    method: str, order: tuple[str, str], save_run: Callable[..., Path]
) -> None:
    positions = build_method(method).num_positions
    lengths = {"short": 32 + positions, "long": 64 + positions}
    own = {
        name: save_run(method, seed, max_length=lengths[name])
        for seed, name in enumerate(("short", "long"))
    }
    alone = {name: pedro_bench.load(path, device="cpu") for name, path in own.items()}
    with pytest.raises(DataError) as of_run:
        alone["short"].generate([PROMPT], max_new_tokens=ROOM)
    assert "must fit into 32 tokens, got 36: shorten" in str(of_run.value)
    bank = pedro_bench.serve({name: own[name] for name in order}, device="cpu")
    expected = alone["long"].generate([PROMPT], max_new_tokens=ROOM)
    assert bank.generate([("long", PROMPT)], max_new_tokens=ROOM) == expected
    bank.remove("short")
    bank.add("short", saved_adapter(own["short"]))
    with pytest.raises(DataError) as of_bank:
        bank.generate([("short", PROMPT)], max_new_tokens=ROOM)
    assert str(of_bank.value) == str(of_run.value)
    with pytest.raises(DataError, match="prompt 1 and .* must fit into 32 tokens"):
        bank.generate([("long", PROMPT), ("short", PROMPT)], max_new_tokens=ROOM)


def test_no_tenant_takes_more_than_its_bank(save_run: Callable[..., Path]) -> None:
    short, long = save_run("pedro", 0, max_length=32), save_run("pedro", 1, max_length=64)
    bank = pedro_bench.serve({"short": short}, device="cpu")
    bank.add("long", saved_adapter(long))
    with pytest.raises(DataError, match="must fit into 32 tokens"):
        bank.generate([("long", PROMPT)], max_new_tokens=ROOM)
    adapter = saved_adapter(long)
    bank.add("unknown", replace(adapter, max_length=None))
    assert bank.generate([("unknown", "a cat")], max_new_tokens=ROOM)
    for length in (0, 32.0, "32"):
        with pytest.raises(ConfigError, match="adapter.max_length must be a whole number of at"):
            bank.add("ben", replace(adapter, max_length=length))


def test_texts_are_labelled_with_their_tenants_length(
    load_tiny: Callable[..., Any], make_tenant: Callable[..., Any]
) -> None:
    backbone = load_tiny("roberta")
    adapter: TenantAdapter = tenant_of(make_tenant("pedro", 0, backbone, HEADS[0]))
    bank = AdapterBank(backbone, build_method("pedro"))
    bank.add("long", adapter)
    bank.add("short", replace(adapter, max_length=24))
    assert bank.label([("long", PROMPT)])[0] in HEADS[0].labels
    with pytest.raises(DataError, match=r"requests\[1\] must fit into 24 tokens, got 33: shorten"):
        bank.label([("long", PROMPT), ("short", PROMPT)])
