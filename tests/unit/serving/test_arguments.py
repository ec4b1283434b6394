"""Arguments of `load`, `serve` and what they return: one sentence for what is no such argument."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pedro_bench
from pedro_bench.errors import ConfigError, PedroBenchError, RecordError
from pedro_bench.protocols.batch import Encoded
from pedro_bench.runs.saved import saved_adapter

PROMPTS = ["a cat", "the dog sat", "who"]
PAIRS = [("a cat", "sat"), ("the dog", "")]
REQUESTS = [("anna", "a cat"), ("anna", "who")]
NO_LISTS: list[Any] = ["hello", None, 5, {"a": "b"}, {"a", "b"}, b"ab"]
NO_TEXTS: list[Any] = [[None], ["a", 5], [["a"]], [b"a"], iter([1.5])]
NO_PAIRS: list[Any] = [
    ["ab"],
    [("a",)],
    [("a", "b", "c")],
    [None],
    [("a", None)],
    [{"a": 1, "b": 2}],
]
NO_NUMBERS: list[Any] = [0, -1, True, 2.0, "3", float("nan")]


@pytest.fixture
def run(save_run: Callable[..., Path]) -> Any:
    return pedro_bench.load(save_run("lora", 0), device="cpu")


@pytest.fixture
def bank(save_run: Callable[..., Path]) -> Any:
    return pedro_bench.serve({"anna": save_run("lora", 0)}, device="cpu")


def test_what_holds_texts_in_an_order_is_taken(run: Any) -> None:
    expected = run.generate(PROMPTS, max_new_tokens=3)
    for given in (tuple(PROMPTS), iter(PROMPTS), (one for one in PROMPTS), np.array(PROMPTS)):
        assert run.generate(given, num_beams=None, max_new_tokens=3) == expected
    assert run.generate([]) == []
    assert run.generate([""], max_new_tokens=2) == run.generate(iter([""]), max_new_tokens=2)
    assert run.loglikelihood(list(one) for one in PAIRS) == run.loglikelihood(PAIRS)
    assert run.loglikelihood([]) == []


def test_prompts_that_are_no_list_of_texts_are_refused(run: Any) -> None:
    for given in NO_LISTS:
        with pytest.raises(ConfigError, match="^prompts must be a list of texts, got "):
            run.generate(given)
    with pytest.raises(ConfigError, match="got 'hello': put it into a list\\.$"):
        run.generate("hello")
    for given in NO_TEXTS:
        with pytest.raises(ConfigError, match=r"^prompts\[[01]\] must be a text, got "):
            run.generate(given)


def test_pairs_that_are_no_pairs_are_refused(run: Any, bank: Any) -> None:
    rule = r"must be a pair of texts \(prompt, answer\), got "
    for given in NO_LISTS:
        with pytest.raises(ConfigError, match="^pairs must be a list of pairs, got "):
            run.loglikelihood(given)
        with pytest.raises(ConfigError, match="^requests must be a list of pairs, got "):
            bank.generate(given)
    for given in NO_PAIRS:
        with pytest.raises(ConfigError, match=r"^pairs\[0\] " + rule):
            run.loglikelihood(given)
        with pytest.raises(
            ConfigError, match=r"^requests\[0\] must be a pair .*\(tenant, prompt\)"
        ):
            bank.generate(given)


@pytest.mark.parametrize("key", ["num_beams", "max_new_tokens", "batch_size"])
def test_numbers_that_are_no_whole_number_from_one_are_refused(
    key: str, run: Any, bank: Any
) -> None:
    for value in NO_NUMBERS:
        rule = f"^{key} must be a whole number of at least 1.* got "
        with pytest.raises(ConfigError, match=rule):
            run.generate(PROMPTS, **{key: value})
        with pytest.raises(ConfigError, match=rule):
            bank.generate(REQUESTS, **{key: value})
        for tenants, prompts in (([], []), (["anna"], [Encoded((1, 5), (), 0)])):
            options = {"num_beams": 1, "max_new_tokens": 2, "batch_size": 1, key: value}
            with pytest.raises(ConfigError, match=rule):
                bank.generate_encoded(tenants, prompts, **options)
        if key == "batch_size":
            with pytest.raises(ConfigError, match=rule):
                run.loglikelihood(PAIRS, batch_size=value)
    with pytest.raises(ConfigError, match=rule):
        bank.generate(REQUESTS, **{key: None})


def test_tenants_and_adapters_that_are_none_are_refused(
    bank: Any, save_run: Callable[..., Path]
) -> None:
    adapter = saved_adapter(save_run("lora", 0))
    for name in (None, 5, "", ["anna"]):
        with pytest.raises(ConfigError, match="^tenant must be a text"):
            bank.add(name, adapter)
        with pytest.raises(ConfigError, match="^tenant must be a text"):
            bank.remove(name)
    with pytest.raises(ConfigError, match="^adapter must be a TenantAdapter.* got 'x.json'"):
        bank.add("ben", "x.json")
    with pytest.raises(ConfigError, match="tenant must be one of the bank's 1, got 'ana'"):
        bank.generate([("ana", "a cat")])


def test_paths_and_devices_that_are_none_are_refused(tmp_path: Path) -> None:
    for path in (None, 5, "", " ", ["x"]):
        with pytest.raises(ConfigError, match="^path must be a text, not empty"):
            pedro_bench.load(path)
        with pytest.raises(ConfigError, match=r"^runs\['anna'\] must be a text, not empty"):
            pedro_bench.serve({"anna": path})
    for runs in (None, "x.json", ["x.json"], [("anna", "x.json")]):
        with pytest.raises(ConfigError, match="^runs must name each tenant's run, as {'anna'"):
            pedro_bench.serve(runs)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="^a tenant in runs must be a text"):
        pedro_bench.serve({5: "x.json"})  # type: ignore[dict-item]
    for device in ("tpu", None, 0):
        with pytest.raises(ConfigError, match="^device must be auto, cpu, cuda"):
            pedro_bench.load(tmp_path, device=device)  # type: ignore[arg-type]


def test_the_home_folder_of_a_run(
    save_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    name = save_run("lora", 0).name
    run = pedro_bench.load(f"~/{name}", device="cpu")
    found = pedro_bench.serve({"anna": Path("~") / name}, device="cpu")
    alone = run.generate(["a cat"], max_new_tokens=3)
    assert found.generate([("anna", "a cat")], max_new_tokens=3) == alone
    with pytest.raises(ConfigError, match="got '~nobody-here/x', the home of an unknown user"):
        pedro_bench.load("~nobody-here/x")


def test_a_record_that_lies_in_no_folder_of_results_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a record that was copied to the root of a disk."""
    monkeypatch.chdir("/")
    with pytest.raises(
        PedroBenchError, match="nowhere.json must be that of a finished run, got none there"
    ):
        pedro_bench.load("nowhere.json")
    monkeypatch.setattr(Path, "resolve", lambda self, strict=False: Path("/x.json"))
    from pedro_bench.records import RunRecord
    from pedro_bench.runs import saved

    known = dict.fromkeys(("method", "task", "backbone", "data", "suite"), "x")
    record = RunRecord(
        **known,
        key="0" * 12,
        status="finished",
        seed=0,
        config={"output_dir": "gone"},
        main_metric="acc",
        metrics={"test": {"acc": 1.0}},
        started="now",
    )
    monkeypatch.setattr(saved.records, "finished_run", lambda path: record)
    with pytest.raises(RecordError, match="must have its working folder gone/x/x--x--x--0"):
        pedro_bench.load("/x.json")
