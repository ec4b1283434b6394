"""Rows and their ratios, from figures that are easy to check."""

from typing import Any

import pytest
from scipy.stats import binom

from pedro_bench.efficiency.rows import ratio, row_of
from pedro_bench.records import RunRecord


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
