"""The public DataFrames: one row a run, one row a test row."""

import io
import json
from pathlib import Path

import pandas as pd
import pytest

import pedro_bench
from pedro_bench.analysis.cells import compare_frames
from pedro_bench.analysis.frame import COLUMNS, runs_of
from pedro_bench.analysis.tables import tables
from pedro_bench.errors import ConfigError, RecordError
from tests.unit.analysis.runs import five, run
from tests.unit.analysis.test_evaluations import evaluate

RESULTS = Path(__file__).resolve().parents[3] / "results"


def test_one_row_a_run_with_what_its_record_holds(tmp_path):
    path = run(
        tmp_path,
        metrics={"test": {"acc": 80.0, "f1": 70.0}, "dev": {"loss": 1.0}},
        parameters={"matrices": 5, "trainable": 6, "total": 7},
        timing={"train_seconds": 60.0, "tokens_per_second": 100.0},
        memory={"peak_bytes": 9, "adapter_bytes": 8},
        energy={"train_joules": 7.5, "of": "processors"},
        environment={"device": "cpu", "commit": "abc", "dirty": True},
    )
    run(tmp_path, "lora", seed=3, status="failed", metrics={}, error="boom.")
    lora, pedro = (row for _, row in pedro_bench.results(tmp_path).iterrows())
    names = ("suite", "method", "settings", "task", "backbone", "data", "seed", "status")
    assert [pedro[n] for n in names] == [
        "main",
        "pedro",
        "",
        "boolq",
        "micro",
        "micro",
        0,
        "finished",
    ]
    assert (pedro.score, pedro.acc, pedro.f1, pedro.main_metric) == (80.0, 80.0, 70.0, "acc")
    assert (pedro.matrices, pedro.trainable, pedro.train_seconds) == (5, 6, 60.0)
    assert (pedro.train_tokens_per_second, pedro.peak_bytes, pedro.adapter_bytes) == (100.0, 9, 8)
    assert (pedro.device, pedro.commit, bool(pedro.dirty), pedro.path) == (
        "cpu",
        "abc",
        True,
        str(path),
    )
    assert pedro.processor_joules == 7.5 and pd.isna(pedro.gpu_joules)
    assert pd.isna(lora.processor_joules)
    assert pedro.key == path.stem.split("--")[3]
    assert (lora.status, lora.error, lora.seed, bool(lora.shown)) == ("failed", "boom.", 3, False)
    assert pd.isna(lora.acc) and pd.isna(lora.adapter_bytes) and pd.isna(lora.commit)


def test_one_suite_or_several(tmp_path):
    for suite in ("main", "other", "third"):
        run(tmp_path, suite=suite)
    assert list(pedro_bench.results(tmp_path, "other").suite) == ["other"]
    assert list(pedro_bench.results(tmp_path, ["main", "third"]).suite) == ["main", "third"]


def test_settings_name_what_differs_and_only_the_newest_runs_are_shown(tmp_path):
    five(tmp_path, r=6, code=1)
    later = {"code": 2, "started": "2026-02-01T00:00:00+00:00"}
    run(tmp_path, r=6, score=10.0, **later)
    run(tmp_path, r=12, score=20.0)
    frame = pedro_bench.results(tmp_path)
    assert sorted(set(frame.settings)) == ["r=12", "r=6"]
    assert dict(frame[frame.shown].groupby("settings").score.median()) == {"r=6": 10, "r=12": 20}
    assert len(frame) == 7


@pytest.mark.parametrize("metric", ["score", "seed", "key", "run"])
def test_a_metric_with_the_name_of_a_column_has_a_column_of_its_own(tmp_path, metric):
    run(tmp_path, main_metric=metric, metrics={"test": {metric: 7.0}})
    frame = pedro_bench.results(tmp_path)
    assert frame[f"test_{metric}"].tolist() == [7.0]
    assert runs_of(frame)[0].scores == {metric: 7.0}
    (table,) = tables(frame)
    assert table.cells["median"].tolist() == [7.0]


def test_evaluations_are_rows(tmp_path):
    of = run(tmp_path, "pedro", "alpaca")
    evaluate(tmp_path, of, "mt_bench", {"score": 6.5})
    frame = pedro_bench.results(tmp_path)
    assert frame[["task", "score"]].to_numpy().tolist() == [["alpaca", 80.0], ["mt_bench", 6.5]]
    assert frame.run[1].evaluates == of.stem


def test_the_columns_are_those_that_are_told_and_the_metrics(tmp_path):
    run(tmp_path, metrics={"test": {"acc": 1.0, "f1": 2.0}})
    run(tmp_path, "lora", environment={})
    frame = pedro_bench.results(tmp_path)
    assert set(frame.columns) == {*COLUMNS, "acc", "f1"}
    assert frame.f1.isna().tolist() == [True, False]
    assert [one.method for one in runs_of(frame[frame.method == "lora"])] == ["lora"]
    assert frame.dirty.isna().tolist() == [True, False]


def test_tables_are_made_of_any_rows(tmp_path):
    five(tmp_path)
    five(tmp_path, "lora")
    frame = pedro_bench.results(tmp_path)
    (table,) = tables(frame[(frame.method == "lora") & (frame.seed < 3)])
    assert table.cells[["method", "seeds"]].to_numpy().tolist() == [["lora", 3]]
    with pytest.raises(RecordError, match=r"the column 'run' of pedro_bench\.results, got suite, "):
        tables(frame.drop(columns="run"))


def test_cells_that_cannot_be_ordered_stop_tables_and_not_the_frame(tmp_path):
    for seed, code in ((0, 1), (2, 1), (1, 2)):
        run(tmp_path, seed=seed, code=code)
    frame = pedro_bench.results(tmp_path)
    assert frame.shown.all()
    with pytest.raises(RecordError, match="must share one key"):
        tables(frame)
    assert len(tables(frame[frame.seed != 1])) == 1


def test_no_records_are_said(tmp_path):
    with pytest.raises(RecordError, match=r"folder must hold records, got none in .*runs'"):
        pedro_bench.results(tmp_path)
    run(tmp_path)
    with pytest.raises(RecordError, match="must hold records of suite absent, got none"):
        pedro_bench.results(tmp_path, ["absent"])
    with pytest.raises(RecordError, match="Did you mean 'main'\\? Known: main"):
        pedro_bench.results(tmp_path, "mian")


@pytest.mark.parametrize(
    ("call", "given", "said"),
    [
        (pedro_bench.results, None, "folder must be a text, not empty, got None"),
        (pedro_bench.predictions, 5, "run must be a text, not empty, got 5"),
        (pedro_bench.predictions, {"seed": 0}, "with its column 'run', got seed"),
    ],
)
def test_what_is_no_path_and_no_row_is_refused(call, given, said):
    with pytest.raises(ConfigError, match=said):
        call(given)


def test_predictions_are_one_row_a_test_row(tmp_path):
    path = run(tmp_path, examples=[100.0, 0.0])
    frame = pedro_bench.results(tmp_path)
    for given in (frame.iloc[0], path, str(path)):
        found = pedro_bench.predictions(given)
        assert found[["index", "prediction", "score"]].to_numpy().tolist() == [
            [0, "yes", 100.0],
            [1, "yes", 0.0],
        ]
    next((path.parent / "predictions").iterdir()).write_text("{}\n")
    with pytest.raises(RecordError, match="must be those that were recorded, got .*not those"):
        pedro_bench.predictions(path)
    bare = run(tmp_path, "lora")
    with pytest.raises(RecordError, match="got predictions that are not recorded"):
        pedro_bench.predictions(bare)


def test_two_methods_are_compared_from_frames(tmp_path):
    for method, rows in (("pedro", [100.0, 0.0, 100.0]), ("lora", [0.0, 0.0, 100.0])):
        for seed in range(2):
            run(tmp_path, method, seed=seed, score=sum(rows) / 3, examples=rows)
    frame = pedro_bench.results(tmp_path)
    found = compare_frames(frame[frame.method == "pedro"], frame[frame.method == "lora"])
    assert (found.difference, found.examples, found.seeds) == (pytest.approx(100 / 3), 3, (2, 2))
    none = compare_frames(frame[frame.method == "pedro"], frame[frame.method == "ia3"])
    assert none == "a comparison needs two finished runs of each method"


def test_what_is_no_single_result_is_not_compared(tmp_path):
    for method in ("pedro", "lora"):
        for task in ("boolq", "rte"):
            for seed in range(3):
                run(tmp_path, method, task, seed=seed, score=80.0 + seed)
    frame = pedro_bench.results(tmp_path)
    pedro, lora = frame[frame.method == "pedro"], frame[frame.method == "lora"]
    assert compare_frames(pedro, lora) == (
        "a must hold the seeds of one result, got task 'boolq' and 'rte'"
    )
    boolq = pedro[pedro.task == "boolq"]
    assert compare_frames(boolq, frame[frame.task == "boolq"]) == (
        "b must hold the seeds of one result, got method 'lora' and 'pedro'"
    )
    twice = compare_frames(pd.concat([boolq, boolq]), lora[lora.task == "boolq"])
    assert twice == (
        "a must hold the seeds of one result, got several runs of seed 0: choose those that are `shown`"
    )
    assert compare_frames(boolq, lora[lora.task == "boolq"]).seeds == (3, 3)


def test_frames_of_two_folders_keep_their_rows_apart(tmp_path):
    """Either folder has one row of the method, so that neither names its settings."""
    for folder, r in (("first", 6), ("second", 12)):
        for seed in range(3):
            run(tmp_path / folder, seed=seed + r, score=80.0 + seed, r=r)
    both = pd.concat([pedro_bench.results(tmp_path / one) for one in ("first", "second")])
    (table,) = tables(both)
    assert [line.name for line in table.sections[0].lines] == ["pedro [r=6]", "pedro [r=12]"]
    assert set(both.settings) == {one.settings for one in runs_of(both)} == {""}
    assert compare_frames(both, both).startswith("a must hold the seeds of one result, got key ")


def test_the_committed_results_have_the_medians_of_the_committed_tables():
    frame = pedro_bench.results(RESULTS)
    finished = frame[frame.status == "finished"]
    assert len(finished) >= 675
    assert finished.shown.all()
    keys = ["suite", "method", "settings", "task"]
    medians = finished.groupby(keys).score.median()
    for file in sorted((RESULTS / "tables").glob("*.csv")):
        cells = pd.read_csv(file, keep_default_na=False)
        suite = file.name.split("--")[0]
        for cell in cells[cells["median"] != ""].itertuples():
            if cell.metric == "memory_mib":  # a second metric, beside the score
                continue
            own = medians.loc[(suite, cell.method, cell.settings, cell.task)]
            assert own == pytest.approx(float(cell.median), rel=1e-9)


def test_cells_hold_what_the_csv_holds(tmp_path):
    five(tmp_path, parameters={"matrices": 10, "trainable": 20})
    (table,) = tables(pedro_bench.results(tmp_path))
    text = table.cells.to_csv(index=False)
    again = pd.read_csv(io.StringIO(text))
    assert again["median"].tolist() == [80.0]
    assert table.cells.matrices.tolist() == [10]
    assert json.loads(table.cells.to_json(orient="records"))[0]["run_seeds"] == "0 1 2 3 4"
