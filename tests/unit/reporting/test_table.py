from pedro_bench.reporting.load import load
from pedro_bench.reporting.table import build
from tests.unit.reporting.runs import five, run


def tables(folder):
    return [build(panel, rows) for panel, rows in load(folder).items()]


def test_best_and_second_by_column_with_ties_and_missing(tmp_path):
    five(tmp_path, "pedro", "boolq", 81.004)
    five(tmp_path, "lora", "boolq", 81.001)
    five(tmp_path, "ia3", "boolq", 79.5)
    five(tmp_path, "pedro", "sst2", 90.0)
    (table,) = tables(tmp_path)
    assert table.columns == ("BOOLQ (accuracy)", "SST2 (accuracy)")
    shown = {line.label: [(one.text, one.rank) for one in line.entries] for line in table.lines}
    assert shown == {
        "(IA)$^3$": [("79.50", 2), ("--", 0)],
        "LoRA": [("81.00", 1), ("--", 0)],
        "PEDRO": [("81.00", 1), ("90.00", 1)],
    }
    assert table.missing == ("ia3 on sst2", "lora on sst2")


def test_few_seeds_failures_and_uncommitted_code_are_told(tmp_path):
    run(tmp_path, seed=0, score=70.0, environment={"dirty": True})
    run(tmp_path, seed=1, score=71.0, environment={"dirty": False})
    run(tmp_path, seed=2, status="failed", metrics={}, error="out of memory.")
    (table,) = tables(tmp_path)
    assert table.lines[0].entries[0].text == "70.50 (n=2)"
    assert table.notes == (
        "Failed: pedro on boolq, seed 2: out of memory.",
        "Uncommitted code: 1 of 2 runs were made with it.",
    )


def test_a_row_with_failures_only_is_missing(tmp_path):
    run(tmp_path, status="failed", metrics={}, error="out of memory.")
    (table,) = tables(tmp_path)
    assert table.lines[0].entries[0].text == "--"
    assert table.missing == ("pedro on boolq",)


def test_micro_results_are_labelled(tmp_path):
    five(tmp_path)
    five(tmp_path, backbone="llama2_7b", data="hub")
    large, micro = sorted(tables(tmp_path), key=lambda table: table.name)
    assert "micro results" in micro.caption
    assert "micro" not in large.caption
