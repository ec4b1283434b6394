"""Columns whose runs cannot be compared as their names say; invented records."""

import csv
import io

from pedro_bench.reporting.build import reports
from pedro_bench.reporting.delimited import comma_separated
from pedro_bench.reporting.load import load
from pedro_bench.reporting.markdown import markdown
from tests.unit.reporting.runs import five, run


def rows_of(fingerprint):
    return {"splits": {"test": {"rows": 4, "fingerprint": fingerprint}}}


def weights(**settings):
    return {"groups": {"backbone": {"name": "causal_lm", "dtype": None, **settings}}}


def notes_of(folder):
    (report,) = reports(load(folder))
    return report.notes


def test_columns_of_several_sets_of_test_rows_are_named_with_their_methods(tmp_path):
    for task in ("boolq", "sst2"):
        five(tmp_path, "lora", task, **rows_of("aaaaaaaa11"))
        five(tmp_path, "pedro", task, **rows_of("bbbbbbbb22"))
        five(tmp_path, "ia3", task, **rows_of("aaaaaaaa11"))
    five(tmp_path, "lora", "squad", **rows_of("cc"))
    five(tmp_path, "pedro", "squad", **rows_of("cc"))
    told = "boolq, sst2 (aaaaaaaa: ia3, lora; bbbbbbbb: pedro)"
    assert notes_of(tmp_path) == (f"Different test rows in one column: {told}.",)


def test_columns_of_several_backbones_of_one_name_are_named(tmp_path):
    five(tmp_path, "lora", **weights(path="first/model", revision=None, random_weights=False))
    five(tmp_path, "pedro", **weights(path="other/model", revision="abc"))
    five(tmp_path, "ia3", **weights(path="first/model", random_weights=True))
    assert notes_of(tmp_path) == (
        "Different backbone.path in one column: boolq (first/model: ia3, lora; other/model: pedro).",
        "Different backbone.revision in one column: boolq (none: ia3, lora; abc: pedro).",
        "Different backbone.random_weights in one column: boolq (True: ia3; none: lora, pedro).",
    )


def test_precision_may_differ_and_what_is_not_known_is_no_difference(tmp_path):
    five(tmp_path, "lora", **weights(path="a", revision=None), **rows_of("aa"))
    five(tmp_path, "pedro", **weights(path="a", dtype="float32"))
    five(tmp_path, "ia3")
    assert notes_of(tmp_path) == ()


def test_a_comparison_over_seeds_alone_is_told_although_intervals_have_examples(tmp_path):
    for method, fingerprint in (("lora", "aa"), ("pedro", "bb"), ("ia3", "bb")):
        for seed in range(2):
            answers = [100.0, 0.0, 100.0, 100.0 * seed]
            if method == "pedro":
                answers[1] = 100.0
            score = sum(answers) / 4
            run(tmp_path, method, seed=seed, score=score, examples=answers, **rows_of(fingerprint))
    (report,) = reports(load(tmp_path))
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(comma_separated(report)))}
    names = ("interval_examples", "examples_from_best")
    assert {method: tuple(row[name] for name in names) for method, row in rows.items()} == {
        "lora": ("4", "0"),
        "pedro": ("4", ""),
        "ia3": ("4", "4"),
    }
    note = "- Over seeds alone, as the best has no scores of the same examples: lora on boolq."
    assert note in markdown(report)
