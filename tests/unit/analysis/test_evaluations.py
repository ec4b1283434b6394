"""Evaluations of finished runs stand in the table of their suite; the records are made by hand."""

import hashlib
import json

import pytest

from pedro_bench.analysis.frame import results, runs_of
from pedro_bench.errors import RecordError
from pedro_bench.files import write_text
from pedro_bench.reporting.captions import missing
from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import markdown
from tests.unit.analysis.runs import built, only, rows, run, seeds

SUITE = "micro_table2"


def evaluate(
    root,
    of,
    suite,
    metrics,
    *,
    scores=None,
    judge="gpt-4",
    settings=None,
    data=None,
    parts=None,
    told=(),
    name="0123456789ab",
    started="2026-01-02T00:00:00+00:00",
):
    """Write an evaluation of the run whose record is `of`."""
    path = root / "instruct" / suite / f"{of.stem}--{name}.json"
    files = {}
    if scores is not None:
        rows = [{"index": n, "row": n, "score": score} for n, score in enumerate(scores)]
        content = "".join(json.dumps(row) + "\n" for row in rows)
        kind = "judgements" if suite == "mt_bench" else "predictions"
        write_text(path.parent / kind / f"{path.stem}.jsonl", content)
        digest = hashlib.sha256(content.encode()).hexdigest()
        files[kind] = {"path": f"{kind}/{path.stem}.jsonl", "sha256": digest}
    content = {
        "schema": 1,
        "key": name,
        "suite": suite,
        "run": {"suite": of.parent.name, "stem": of.stem, "method": "not read"},
        "config": {"judge": judge, **(settings or {})},
        "data": {"fingerprint": "f", "rows": 4, **(data or {})},
        "metrics": metrics,
        "parts": parts or {},
        "notes": list(told),
        "files": files,
        "environment": {"device": "cpu", "dirty": False},
        "started": started,
    }
    write_text(path, json.dumps(content))


def two_methods(root, *, adalora, pedro):
    """Write two seeds of either method, and an MMLU evaluation of each with scores of four rows."""
    for method, values in (("adalora", adalora), ("pedro", pedro)):
        for seed, value in enumerate(values):
            of = run(root, method, "alpaca", seed, 30.0 + seed, suite=SUITE)
            rows = [100.0] * value + [0.0] * (4 - value)
            evaluate(root, of, "mmlu", {"accuracy": 25.0 * value}, scores=rows)


def test_an_evaluation_is_a_cell_of_its_runs_row(tmp_path):
    two_methods(tmp_path, adalora=[1, 2], pedro=[3, 4])
    found = {row.method: row for row in rows(tmp_path)}
    cell = found["pedro"].cells["mmlu"]
    assert [one.score for one in cell.shown] == [75.0, 100.0]
    assert seeds(cell) == [0, 1]
    assert [one.score for one in found["pedro"].cells["alpaca"].shown] == [30.0, 31.0]


def test_table_2_has_the_papers_columns_in_order_and_its_claims_are_tested(tmp_path):
    two_methods(tmp_path, adalora=[1, 2], pedro=[3, 4])
    table = only(tmp_path)
    section = table.sections[0]
    assert [column.task for column in table.columns] == ["mt_bench", "mmlu", "bbh", "alpaca"]
    assert [line.method for line in section.lines] == ["adalora", "pedro"]
    medians = [line.cells[1].spread.median for line in section.lines]
    assert medians == [37.5, 87.5]
    assert section.lines[1].cells[1].published.printed == "52.7"
    found = {one.task: one for one in section.verdicts}
    assert set(found) == {"MT-Bench", "MMLU", "BBH"}  # the paper says nothing of Alpaca itself
    assert found["MMLU"].tested.comparison.examples == 4
    assert found["MMLU"].tested.comparison.difference == pytest.approx(50.0)
    assert found["BBH"].verdict == "not testable"
    assert "87.50 (n=2)" in markdown(table)


def test_grades_of_a_judge_are_compared_over_answers(tmp_path):
    for method, grades in (("adalora", [4, 5, 6]), ("pedro", [7, 8, 9])):
        for seed in range(2):
            of = run(tmp_path, method, "alpaca", seed, suite=SUITE)
            mean = sum(grades) / 3 + seed
            evaluate(tmp_path, of, "mt_bench", {"score": mean}, scores=[g + seed for g in grades])
    table = only(tmp_path)
    (verdict,) = [one for one in table.sections[0].verdicts if one.task == "MT-Bench"]
    assert verdict.tested.comparison.difference == pytest.approx(3.0)
    assert verdict.tested.comparison.examples == 3


def test_two_judges_in_one_cell_are_refused(tmp_path):
    of = run(tmp_path, "pedro", "alpaca", suite=SUITE)
    evaluate(tmp_path, of, "mt_bench", {"score": 7.0})
    evaluate(tmp_path, of, "mt_bench", {"score": 5.0}, judge="other", name="ba9876543210")
    with pytest.raises(RecordError, match="pedro on mt_bench in suite 'micro_table2' must share"):
        built(tmp_path)


def test_contexts_that_were_shortened_are_the_evaluations_own(tmp_path):
    """Those of the run's training stood under its evaluation too, as contexts."""
    splits = {"train": {"rows": 50, "shortened": 1, "cut_answers": 7}}
    for method in ("pedro", "adalora"):
        of = run(tmp_path, method, "alpaca", suite=SUITE, splits=splits)
        told = ["2 contexts lost tokens at their beginning to fit 64."] if method == "pedro" else []
        evaluate(tmp_path, of, "mmlu", {"accuracy": 50.0}, told=told)
    trained = "(1 of 50 train prompts; 7 of 50 train answers)"
    (found,) = [one for one in notes(only(tmp_path)) if one.startswith("Shortened to fit")]
    assert found == (
        f"Shortened to fit: adalora on alpaca {trained}, pedro on mmlu (2 contexts), "
        f"pedro on alpaca {trained}."
    )


def test_an_evaluation_of_a_run_that_is_gone_is_told(tmp_path):
    of = run(tmp_path, "pedro", "alpaca", suite=SUITE)
    run(tmp_path, "lora", "alpaca", suite=SUITE)
    evaluate(tmp_path, of, "mmlu", {"accuracy": 50.0})
    of.unlink()
    with pytest.raises(RecordError, match=r"must belong to a record, got 'pedro--alpaca.*move"):
        built(tmp_path)
    run(tmp_path, "pedro", suite="other")
    assert [table.suite for table in built(tmp_path, "other")] == ["other"]


@pytest.mark.parametrize("content", ["{", "[]", '{"suite": "mmlu"}'])
def test_a_file_that_is_no_evaluation_is_named(tmp_path, content):
    run(tmp_path)
    write_text(tmp_path / "instruct" / "mmlu" / "one.json", content)
    with pytest.raises(RecordError, match=r"evaluation .*one\.json must be a readable evaluation"):
        built(tmp_path)


def test_of_evaluations_made_again_the_newest_of_each_seed_is_shown(tmp_path):
    # The key in the file's name holds the code and the device, which are no settings.
    for seed in range(2):
        of = run(tmp_path, "pedro", "alpaca", seed, suite=SUITE)
        for month, key, value in ((2, "00000000000a", 60.0), (1, "00000000000b", 40.0)):
            started = f"2026-0{month}-01T00:00:00+00:00"
            metrics = {"accuracy": value + seed}
            evaluate(tmp_path, of, "mmlu", metrics, name=key, started=started)
    (row,) = rows(tmp_path)
    cell = row.cells["mmlu"]
    assert [(one.seed, one.score) for one in cell.shown] == [(0, 60.0), (1, 61.0)]
    assert len(cell.runs["replaced"]) == 2
    table = only(tmp_path)
    note = "Evaluated again, the older evaluations not shown: pedro on mmlu (2)."
    assert note in notes(table)


def test_an_older_version_of_a_suite_is_left_out(tmp_path):
    for seed in range(2):
        of = run(tmp_path, "pedro", "alpaca", seed, suite=SUITE)
        old, new = {"version": 1, "lm_eval": "0.4"}, {"version": 2, "lm_eval": "0.5"}
        evaluate(tmp_path, of, "mmlu", {"accuracy": 40.0}, settings=old)
        if seed == 0:
            evaluate(tmp_path, of, "mmlu", {"accuracy": 60.0}, settings=new, name="ba9876543210")
    table = only(tmp_path)
    (cell,) = [one for _, _, one in table.places if one.column.task == "mmlu" and one.runs]
    assert [one.score for one in cell.shown] == [60.0]
    assert any("pedro on mmlu (2: version 1 of evaluation, now 2)." in one for one in notes(table))


def test_evaluations_of_superseded_runs_are_left_out_and_told(tmp_path):
    old = run(tmp_path, "pedro", "alpaca", suite=SUITE, code=1)
    evaluate(tmp_path, old, "mmlu", {"accuracy": 40.0})
    evaluate(tmp_path, old, "bbh", {"accuracy": 30.0})
    later = "2026-02-01T00:00:00+00:00"
    new = run(tmp_path, "pedro", "alpaca", suite=SUITE, code=2, started=later)
    evaluate(tmp_path, new, "mmlu", {"accuracy": 70.0}, name="ba9876543210")
    (row,) = rows(tmp_path)
    assert [one.score for one in row.cells["mmlu"].shown] == [70.0]
    assert (seeds(row.cells["bbh"]), seeds(row.cells["bbh"], "outdated")) == ([], [0])
    table = only(tmp_path)
    note = "Evaluations of runs that are not shown, left out: pedro on mmlu (1), pedro on bbh (1)."
    assert note in notes(table)
    assert "pedro on bbh" in missing(table)


JUDGES = {"model": "gpt-4"}, {"model": "tiny-local-judge"}


@pytest.mark.parametrize(
    ("suite", "theirs", "own", "told"),
    [
        (
            "mt_bench",
            {"settings": {"judge": JUDGES[0], "limit": 80}},
            {"settings": {"judge": JUDGES[1], "limit": 10}},
            "mt_bench.judge.model tiny-local-judge and gpt-4; mt_bench.limit 10 and 80",
        ),
        ("mmlu", {"settings": {"shots": 0}}, {"settings": {"shots": 5}}, "mmlu.shots 5 and 0"),
        (
            "mmlu",
            {"settings": {"tasks": ["astronomy"]}},
            {"settings": {"tasks": ["anatomy"]}},
            'mmlu.tasks ["anatomy"] and ["astronomy"]',
        ),
        ("mmlu", {"data": {"rows": 5}}, {}, "mmlu.rows 4 and 5"),
        ("mmlu", {"data": {"fingerprint": "g"}}, {}, "test rows f and g"),
        ("mmlu", {"settings": {"max_length": 2000}}, {"settings": {"max_length": 2048}}, ""),
    ],
)
def test_evaluations_are_paired_only_where_they_were_made_alike(tmp_path, suite, theirs, own, told):
    metric = "score" if suite == "mt_bench" else "accuracy"
    for method, value, changes in (("adalora", 25.0, theirs), ("pedro", 75.0, own)):
        for seed in range(2):
            of = run(tmp_path, method, "alpaca", seed, suite=SUITE)
            rows = [100.0, value, 100.0 * seed]
            evaluate(tmp_path, of, suite, {metric: sum(rows) / 3}, scores=rows, **changes)
    table = only(tmp_path)
    (verdict,) = [one for one in table.sections[0].verdicts if one.reason[:2] != "no"]
    if told:
        assert (verdict.verdict, verdict.tested) == ("not testable", None)
        assert verdict.reason == f"different protocols ({told})"
        what = told.partition(" ")[0] if told.startswith(suite) else "test rows"
        assert any(f"Different {what} in one column: {suite} (" in one for one in notes(table))
    else:
        assert verdict.tested.comparison.examples == 3


def test_hidden_files_next_to_evaluations_are_left_alone(tmp_path):
    two_methods(tmp_path, adalora=[1, 2], pedro=[3, 4])
    folder = tmp_path / "instruct" / "mmlu"
    one = next(folder.glob("*.json"))
    (folder / f"._{one.name}").write_bytes(b"\0\1")  # what macOS leaves on a shared disk
    assert len({row.cells["mmlu"].spread.median for row in rows(tmp_path)}) == 2


@pytest.mark.parametrize(("of_run", "dirty"), [(None, None), (True, True), (False, False)])
def test_whether_code_was_committed_is_known_where_run_and_evaluation_tell(of_run, dirty, tmp_path):
    of = run(tmp_path, "pedro", "alpaca", suite=SUITE, environment={"dirty": of_run})
    evaluate(tmp_path, of, "mmlu", {"accuracy": 50.0})
    (found,) = [one for one in runs_of(results(tmp_path)) if one.evaluates]
    assert found.environment.dirty is dirty
