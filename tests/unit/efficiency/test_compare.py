"""A whole comparison on a tiny backbone: turns, rows, records, and what is not measured twice."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import binom

from pedro_bench import records
from pedro_bench.efficiency import compare as comparing
from pedro_bench.efficiency import meter, systems
from pedro_bench.efficiency.compare import Comparison, compare, ratio, row_of, rows_since
from pedro_bench.errors import InjectionError, TrainingError
from pedro_bench.records import RunRecord, packing
from pedro_bench.serving.static_step import StaticStep


def test_methods_take_turns_and_leave_records(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    told: list[str] = []
    comparison = make_comparison(methods=["none", "pedro"], beams=[1, 2])
    found = compare(comparison, told.append)
    assert [line.split(": ")[1].split(",")[0] for line in told] == ["none", "pedro"] * 2 + [
        "pedro",
        "none",
    ] * 2, "every other repeat goes backwards"
    assert [line.split("beams ")[1][0] for line in told] == list("11222211")
    assert [(row["method"], row["beams"]) for row in found["rows"]] == [
        ("none", 1),
        ("pedro", 1),
        ("none", 2),
        ("pedro", 2),
    ]
    for row in found["rows"]:
        assert (row["sequences"], row["tenants"], row["mixed"]) == (1, 1, False)
        assert 0 < row["slowest"] <= row["tokens_per_second"] <= row["fastest"]
        assert row["first_token_seconds"] > 0 < row["seconds_per_token"]
        assert row["peak_bytes"] > 0 < row["bandwidth_share"]
    record = records.read(found["records"][0])
    assert len(found["records"]) == 8
    assert (record.suite, record.method, record.task) == ("efficiency", "none", "generate_beam1")
    assert record.is_measurement
    assert record.timing["new_tokens"] == 6
    assert record.timing["bandwidth_bytes_per_second"] == found["bandwidth_bytes_per_second"]
    told.clear()
    assert compare(comparison, told.append) == found, "a finished comparison is not measured again"
    device = record.environment["device_name"]
    assert found["device"] == device
    assert told == [f"read from records of {record.started} on {device}; rerun=true measures anew"]
    told.clear()
    packing.pack(tmp_path / comparison.results_dir, "efficiency")
    assert compare(comparison, told.append) == found
    assert len(told) == 1, "nor a packed one"
    told.clear()
    (tmp_path / found["records"][0]).with_name("packed.parquet").unlink()
    compare(comparison, told.append)
    assert len(told) == 8, "ratios are of one run, so all is measured anew"


class Stopped(BaseException):
    """Stands for a kill."""


def stop_at(word: str) -> Callable[[str], None]:
    def report(line: str) -> None:
        if line.startswith(word):
            raise Stopped

    return report


def test_a_comparison_that_is_stopped_leaves_its_finished_turns(
    make_comparison: Callable[..., Comparison], tmp_path: Path
) -> None:
    """What is slow, such as the peer, comes last, and may take the whole command's time."""
    comparison = make_comparison(methods=["none", "pedro"], beams=[1], repeats=3)
    with pytest.raises(Stopped):
        compare(comparison, stop_at("repeat 2 of 3: none"))
    left = [records.read(path) for path in records.find(tmp_path)]
    assert [(one.method, one.seed, one.status) for one in left] == [
        ("none", 0, "finished"),
        ("pedro", 0, "finished"),
        ("pedro", 1, "finished"),
    ]
    rows = rows_since(str(tmp_path), "efficiency", left[0].started)
    assert [(row["method"], row["beams"], row["repeats"]) for row in rows] == [
        ("none", 1, 1),
        ("pedro", 1, 2),
    ]
    speeds = [one.metrics["test"]["tokens_per_second"] for one in left]
    assert rows[1]["speeds"] == {"0": speeds[1], "1": speeds[2]}
    assert rows_since(str(tmp_path), "efficiency", "2999-01-01T00:00:00+00:00") == []


def test_no_records_of_two_runs_stand_side_by_side(
    make_comparison: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    times = iter(f"2026-01-01T00:00:0{second}+00:00" for second in range(9))
    monkeypatch.setattr(comparing, "now", lambda: next(times))
    own: dict[str, Any] = {"methods": ["none", "pedro"], "beams": [1], "repeats": 1}
    compare(make_comparison(**own), lambda _: None)
    with pytest.raises(Stopped):
        compare(make_comparison(rerun=True, **own), stop_at("repeat 1 of 1: none"))
    assert len(records.find(tmp_path)) == 2, "until something new is there, the old records stay"
    with pytest.raises(Stopped):
        compare(make_comparison(rerun=True, **own), stop_at("repeat 1 of 1: pedro"))
    left = [records.read(path) for path in records.find(tmp_path)]
    assert [(one.method, one.started[18]) for one in left] == [("none", "2")]
    told: list[str] = []
    compare(make_comparison(**own), told.append)
    assert len(told) == 2, "half of a comparison is none"
    packing.pack(tmp_path, "efficiency")
    with pytest.raises(Stopped):
        compare(make_comparison(rerun=True, **own), stop_at("repeat 1 of 1: pedro"))
    left = [records.read(path) for path in records.find(tmp_path)]
    assert [(one.method, one.started[18]) for one in left] == [("none", "4")], "nor packed ones"


@pytest.fixture
def lora_runs_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let LoRA alone run out of memory from its second turn on; its turns are listed."""
    turns: list[str] = []
    plain = systems.adapted

    @contextmanager
    def short(backbone: Any, method: Any, seed: int) -> Iterator[Any]:
        with plain(backbone, method, seed) as generate:
            turns.append(method.name)
            if turns.count("lora") > 1 and method.name == "lora":
                raise torch.OutOfMemoryError("CUDA out of memory")
            yield generate

    monkeypatch.setattr(systems, "adapted", short)
    return turns


def test_a_lack_of_memory_ends_one_system_and_not_the_others(
    make_comparison: Callable[..., Comparison], lora_runs_out: list[str], tmp_path: Path
) -> None:
    told: list[str] = []
    comparison = make_comparison(methods=["lora", "pedro"], beams=[1], repeats=3)
    found = compare(comparison, told.append)
    assert lora_runs_out == ["lora", "pedro", "pedro", "lora", "pedro"]
    assert [(row["method"], row["repeats"]) for row in found["rows"]] == [("lora", 1), ("pedro", 3)]
    assert len(found["records"]) == 4
    assert told[3].endswith("lora, plain, beams 1, sequences 1, tenants 1: out of memory")
    sentence = "lora with beams=1, decoding=plain and 1 sequences of 1 tenants must fit into the"
    assert found["notes"][1].startswith(sentence)
    left = [records.read(path) for path in records.find(tmp_path)]
    assert [one.status for one in left if one.method == "lora"] == ["finished", "failed", "failed"]
    assert left[1].error == found["notes"][1]


def test_where_nothing_fits_the_reason_is_told(
    make_comparison: Callable[..., Comparison], lora_runs_out: list[str]
) -> None:
    lora_runs_out.append("lora")
    with pytest.raises(TrainingError, match=r"lora .* must fit .* got an allocation that failed"):
        compare(make_comparison(methods=["lora"], beams=[1]), lambda _: None)


def test_a_system_is_charged_with_its_own_buffers_alone(
    make_comparison: Callable[..., Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []

    def count(_: torch.device) -> None:
        kept.append(sum(type(one) is StaticStep for one in gc.get_objects()))

    monkeypatch.setattr(meter, "reset_peak", count)
    comparison = make_comparison(
        methods=["none", "pedro"], beams=[1], decoding=["plain", "static"], repeats=2
    )
    compare(comparison, lambda _: None)
    assert kept == [0, 0, 1, 1, 1, 1, 0, 0]


def test_tenants_stand_beside_one_tenant_and_the_peer(
    make_comparison: Callable[..., Comparison],
) -> None:
    told: list[str] = []
    found = compare(
        make_comparison(methods=["lora", "ia3"], beams=[1], tenants=[1, 3], repeats=1),
        told.append,
    )
    rows = [(r["method"], r["sequences"], r["tenants"], r["mixed"]) for r in found["rows"]]
    assert rows == [
        ("lora", 1, 1, False),
        ("ia3", 1, 1, False),
        ("lora", 1, 1, True),
        ("ia3", 1, 1, True),
        ("peft_lora", 1, 1, True),
        ("lora", 3, 1, False),
        ("lora", 3, 3, True),
        ("ia3", 3, 1, False),
        ("ia3", 3, 3, True),
        ("peft_lora", 3, 3, True),
    ]
    assert len(set(found["records"])) == len(rows)


def test_fast_steps_stand_beside_plain_ones(make_comparison: Callable[..., Comparison]) -> None:
    told: list[str] = []
    comparison = make_comparison(
        methods=["none", "pedro"], beams=[1], decoding=["plain", "static"], repeats=1
    )
    found = compare(comparison, told.append)
    assert [(row["method"], row["decoding"]) for row in found["rows"]] == [
        ("none", "plain"),
        ("pedro", "plain"),
        ("none", "static"),
        ("pedro", "static"),
    ]
    last = records.read(found["records"][-1])
    assert last.task == "generate_beam1_static"
    assert last.timing["processor_seconds"] > 0


def test_a_method_that_serves_no_tenants_is_refused_before_measuring(
    make_comparison: Callable[..., Comparison],
) -> None:
    told: list[str] = []
    with pytest.raises(InjectionError, match="method 'full_ft' must leave the backbone's weights"):
        compare(make_comparison(methods=["full_ft"], tenants=[2]), told.append)
    assert not told


def test_methods_that_search_are_measured_with_tenants(
    make_comparison: Callable[..., Comparison],
) -> None:
    told: list[str] = []
    methods = ["learned_adapter", "ssp"]
    found = compare(
        make_comparison(methods=methods, beams=[1], tenants=[2], repeats=1), told.append
    )
    mixed = [row["method"] for row in found["rows"] if row["mixed"]]
    assert mixed == methods


def test_the_peer_searches_with_beams(make_comparison: Callable[..., Comparison]) -> None:
    told: list[str] = []
    found = compare(
        make_comparison(methods=["lora"], beams=[2], tenants=[2], repeats=1), told.append
    )
    assert [row["method"] for row in found["rows"]] == ["lora", "lora", "lora", "peft_lora"]


def row(**speeds: float) -> dict[str, Any]:
    by_repeat = {name.removeprefix("r"): speed for name, speed in speeds.items()}
    times = {repeat: 2 / speed for repeat, speed in by_repeat.items()}
    return {"speeds": by_repeat, "processor_seconds": times}


def test_a_ratio_is_the_median_over_pairs_of_repeats() -> None:
    pedro = row(r0=9.0, r1=9.0, r2=20.0, r3=20.0, r4=20.0)
    bare = row(r0=10.0, r1=10.0, r2=20.0, r3=20.0, r4=40.0)
    found = ratio(pedro, bare)
    assert found is not None
    assert found.pop("interval") is None, "three pairs are too few for one"
    expected = {"ratio": 0.9, "lowest": 0.5, "highest": 1.0, "pairs": 3, "of_processor_time": 0.9}
    assert found == pytest.approx(expected), "that of the medians is 1"


@pytest.mark.parametrize(
    ("pairs", "ranks"), [(5, None), (6, (1, 6)), (12, (3, 10)), (40, (14, 27))]
)
def test_the_interval_is_that_of_a_sign_test(pairs: int, ranks: tuple[int, int] | None) -> None:
    """The ranks stand in any table of a median's distribution-free intervals, and follow from binom."""
    speeds = {f"r{2 * pair + turn}": 1.0 + pair for pair in range(pairs) for turn in (0, 1)}
    found = ratio(row(**speeds), row(**dict.fromkeys(speeds, 1.0)))
    assert found is not None
    assert found["interval"] == (pytest.approx(ranks) if ranks else None)
    if ranks is not None:
        assert 2 * binom.cdf(ranks[0] - 1, pairs, 0.5) <= 0.05 < 2 * binom.cdf(ranks[0], pairs, 0.5)


def test_who_gains_by_an_early_turn_gains_nothing_over_a_pair() -> None:
    first_is_double = ratio(row(r0=20.0, r1=10.0), row(r0=10.0, r1=20.0))
    assert first_is_double is not None
    assert first_is_double["ratio"] == pytest.approx(1.0)
    assert first_is_double["of_processor_time"] == pytest.approx(1.0)


def test_a_row_that_ended_early_is_compared_where_it_is_there() -> None:
    found = ratio(row(r1=20.0), row(r0=10.0, r1=40.0))
    assert found is not None
    assert found["ratio"] == 0.5
    assert ratio(row(r0=1.0), row(r1=1.0)) is None


def record(repeat: int, speed: float, **memory: int | None) -> RunRecord:
    return RunRecord(
        key="0" * 12,
        status="finished",
        method="pedro",
        task="generate_beam1",
        backbone="tiny",
        data="paper_lengths",
        suite="efficiency",
        seed=repeat,
        config={"system": {"beams": 1}},
        main_metric="tokens_per_second",
        metrics={"test": {"tokens_per_second": speed}},
        timing={
            "processor_seconds": 1 / speed,
            "first_token_seconds": 0.1,
            "step_seconds": 1 / speed,
            "bandwidth_share": 0.5,
        },
        memory=memory,
        started="2026-01-01T00:00:00+00:00",
    )


def test_a_row_is_made_of_medians_and_keeps_each_repeat() -> None:
    found = row_of(
        [
            record(repeat, speed, peak_bytes=int(speed), reserved_bytes=None)
            for repeat, speed in ((0, 10.0), (1, 40.0), (2, 20.0))
        ]
    )
    assert found["tokens_per_second"] == 20.0
    assert (found["slowest"], found["fastest"], found["peak_bytes"]) == (10.0, 40.0, 20)
    assert found["speeds"] == {"0": 10.0, "1": 40.0, "2": 20.0}
    assert (found["reserved_bytes"], found["bytes_per_tenant"]) == (None, None)
