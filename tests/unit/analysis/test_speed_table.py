"""Table 3: speed is better where it is higher, memory where it is lower; numbers are made up."""

import pytest

from pedro_bench.reporting.captions import caption
from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import markdown
from tests.unit.analysis.runs import only, run

RUN = {"key": "0123456789ab", "started": "2026-01-01T00:00:00+00:00"}
"""What all records of one measurement share."""


def measured(root, method, speeds, memory, *, device="Abacus", **changes):
    for repeat, speed in enumerate(speeds):
        run(
            root,
            method,
            "generate_beam1",
            repeat,
            backbone="llama2_7b",
            data="paper_lengths",
            main_metric="tokens_per_second",
            metrics={"test": {"tokens_per_second": speed, "memory_mib": memory + repeat / 100}},
            environment={"device": "cuda", "device_name": device, "dirty": False},
            **{**RUN, "suite": "table3", **changes},
        )


@pytest.fixture
def table(tmp_path):
    measured(tmp_path, "lora", [20.0, 20.1, 20.2], 16000.0)
    measured(tmp_path, "ia3", [30.0, 30.1, 30.2], 15000.0)
    measured(tmp_path, "pedro", [29.0, 29.1, 29.2], 14000.0)
    found = only(tmp_path)
    return found


def test_the_least_memory_is_the_best(table):
    by_method = {line.method: line.cells for line in table.sections[0].lines}
    speed, memory = (
        {name: entries[column].place for name, entries in by_method.items()} for column in (0, 1)
    )
    assert speed == {"ia3": 1, "pedro": 2, "lora": 0}
    assert memory == {"pedro": 1, "ia3": 2, "lora": 0}
    assert by_method["pedro"][1].from_best is None
    assert by_method["lora"][1].from_best.comparison.difference == pytest.approx(2000.0)


def test_ranks_take_the_first_metric_of_a_task(table):
    found = table.sections[0].ranks
    assert found.average == {"lora": 3.0, "ia3": 1.0, "pedro": 2.0}
    assert (found.tasks, found.p) == (("generate_beam1",), None)
    assert "Micro" not in markdown(table)
    assert "3 methods on 1 task; too few for a test." in markdown(table)


def test_the_papers_numbers_stand_beside_without_a_difference(table):
    pedro = table.sections[0].lines[2]
    assert [cell.published.printed for cell in pedro.cells[:2]] == ["32.5", "14508"]
    assert pedro.cells[0].difference is None
    assert "Measured on Abacus (cuda), in one run for all methods." in notes(table)
    assert "median over repeats." in caption(table)


def test_claims_on_speed(table):
    found = {(one.other, one.task): one for one in table.sections[0].verdicts}
    speed, memory = "Beam 1 (tokens_per_second)", "Beam 1 (memory_mib)"
    assert found["LoRA", speed].verdict == "supported"
    assert ("LoRA", memory) not in found
    assert found["(IA)$^3$", speed].verdict == "supported"  # 3.3% of 30.1 lies within 5%
    assert found["(IA)$^3$", memory].verdict == "contradicted"  # 6.7% does not, for the better
    assert found["LoRA", "Beam 3 (tokens_per_second)"].verdict == "not testable"
    assert "PEDRO within 5% of (IA)^3 on Beam 1 (tokens_per_second)" in markdown(table)


def test_what_is_repeated_is_called_a_repeat(table):
    text = markdown(table)
    assert "Spread over repeats, table3" in text
    assert "difference of means over repeats" in text
    assert "No interval below 5 repeats." in text
    assert "Fewer than 5 repeats: lora on generate_beam1 has 3" in text
    assert "3+3 repeats alone" in text
    assert "seeds" not in text


def test_a_table_of_trainings_and_measurements_is_over_seeds(tmp_path):
    measured(tmp_path, "lora", [20.0], 16000.0, groups={"efficiency": {"seed": 0}}, suite="main")
    assert only(tmp_path).over == "repeats"
    measured(tmp_path, "ia3", [20.0], 16000.0, suite="main")
    assert only(tmp_path).over == "seeds"


def test_memory_that_never_varies_is_still_compared(tmp_path):
    for method, memory in (("ia3", 15000.0), ("pedro", 14900.0)):
        for repeat in range(2):
            run(
                tmp_path,
                method,
                "generate_beam1",
                repeat,
                suite="table3",
                backbone="llama2_7b",
                main_metric="tokens_per_second",
                metrics={"test": {"tokens_per_second": 30.0, "memory_mib": memory}},
                **RUN,
            )
    found = only(tmp_path)
    verdicts = {one.task: one for one in found.sections[0].verdicts if one.kind == "comparable"}
    assert verdicts["Beam 1 (memory_mib)"].verdict == "supported"
    assert verdicts["Beam 1 (tokens_per_second)"].verdict == "not testable"
    assert (
        "all scores of either method are the same" in verdicts["Beam 1 (tokens_per_second)"].reason
    )
    assert "Not compared: all scores of either method are the same" in markdown(found)


OTHER_RUNS = [
    {"device": "Brain", "key": "ba9876543210"},
    {"started": "2026-02-01T00:00:00+00:00"},
    {"device": "Brain"},
]


@pytest.mark.parametrize("other", OTHER_RUNS)
def test_what_was_measured_in_different_runs_is_not_compared(tmp_path, other):
    measured(tmp_path, "lora", [20.0, 20.1, 20.2], 16000.0)
    measured(tmp_path, "ia3", [25.0, 25.1, 25.2], 15000.0)
    measured(tmp_path, "pedro", [29.0, 29.1, 29.2], 14000.0, **other)
    found = only(tmp_path)
    by_method = {line.method: line.cells[0] for line in found.sections[0].lines}
    assert by_method["lora"].from_best is None
    assert by_method["lora"].untested == "measured in different runs"
    verdict = next(one for one in found.sections[0].verdicts if "tokens" in one.task)
    assert (verdict.other, verdict.verdict) == ("LoRA", "not testable")
    assert verdict.reason == "measured in different runs"
    names = "Abacus (cuda), Brain (cuda)" if "device" in other else "Abacus (cuda)"
    told = f"Measured on {names}, in several runs, each compared with itself alone."
    assert told in notes(found)
    assert not any("one run for all" in note for note in notes(found))
    assert found.sections[0].ranks is None
    text = markdown(found)
    where = "Beam 1 (tokens_per_second)"
    row = f"| PEDRO above LoRA on {where} | PEDRO, Table 3 | not testable: measured in different runs |"
    assert row in text
