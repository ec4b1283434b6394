"""Columns whose runs cannot be compared as their names say; invented records."""

import csv
import io

import pytest

from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import comma_separated, markdown
from tests.unit.analysis.runs import five, only, run


def rows_of(fingerprint):
    return {"splits": {"test": {"rows": 4, "fingerprint": fingerprint}}}


def weights(**settings):
    return {"groups": {"backbone": {"name": "causal_lm", "dtype": None, **settings}}}


def notes_of(folder):
    table = only(folder)
    return tuple(notes(table))


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
    # Nobody knows which rows lora answered, so nothing says that they are those of the others.
    for method, splits in (("lora", {}), ("pedro", rows_of("bb")), ("ia3", rows_of("bb"))):
        for seed in range(5):
            answers = [100.0, 0.0, 100.0, 100.0 * (seed % 2)]
            if method == "pedro":
                answers[1] = 100.0
            score = sum(answers) / 4
            run(tmp_path, method, seed=seed, score=score, examples=answers, **splits)
    table = only(tmp_path)
    rows = {row["method"]: row for row in csv.DictReader(io.StringIO(comma_separated(table)))}
    names = ("interval_examples", "examples_from_best")
    assert {method: tuple(row[name] for name in names) for method, row in rows.items()} == {
        "lora": ("4", "0"),
        "pedro": ("4", ""),
        "ia3": ("4", "4"),
    }
    note = "- Over seeds alone, as the best has no scores of the same examples: lora on boolq."
    assert note in markdown(table)


def weights_of(digest):
    return {"weights": f"sha256:{digest * 8}"}


@pytest.mark.parametrize(
    ("one", "other", "what", "values"),
    [
        (
            {"groups": {"trainer": {"max_steps": 100}}},
            {"groups": {"trainer": {"max_steps": None}}},
            "trainer.max_steps",
            ("none", "100"),
        ),
        (
            {"groups": {"evaluation": {"num_beams": 1}}},
            {"groups": {"evaluation": {"num_beams": 3}}},
            "evaluation.num_beams",
            ("3", "1"),
        ),
        (
            {"groups": {"evaluation": {"_target_": "x.LikelihoodConfig"}}},
            {"groups": {"evaluation": {"_target_": "x.EvaluationConfig"}}},
            "evaluation",
            ("generation", "likelihood"),
        ),
        (
            {"splits": {"train": {"fingerprint": "1111111122"}}},
            {"splits": {"train": {"fingerprint": "3333333344"}}},
            "train rows",
            ("33333333", "11111111"),
        ),
        (rows_of("1111111122"), rows_of("3333333344"), "test rows", ("33333333", "11111111")),
        (
            weights_of("aaaaaaaa"),
            weights_of("bbbbbbbb"),
            "weights",
            ("sha256:bbbbbbbb", "sha256:aaaaaaaa"),
        ),
        (
            {"environment": {"device": "cpu", "dirty": False}},
            {"environment": {"device": "cuda", "dirty": False}},
            "device",
            ("cuda", "cpu"),
        ),
        (weights(path="first"), weights(path="other"), "backbone.path", ("other", "first")),
        (
            {"versions": {"metric.accuracy": 1, "trainer": 1}},
            {"versions": {"metric.accuracy": 2, "trainer": 1}},
            "version of metric.accuracy",
            ("2", "1"),
        ),
        (
            {"groups": {"task": {"max_new_tokens": 8}}},
            {"groups": {"task": {"max_new_tokens": 64}}},
            "task.max_new_tokens",
            ("64", "8"),
        ),
    ],
)
def test_methods_of_different_protocols_are_told_and_not_compared(
    tmp_path, one, other, what, values
):
    places = {"suite": "table1", "backbone": "llama2_7b", "data": "hub"}
    five(tmp_path, "pedro", score=90.0, **places, **one)
    five(tmp_path, "lora", score=80.0, **places, **other)
    table = only(tmp_path)
    theirs, own = values
    told = f"Different {what} in one column: boolq ({theirs}: lora; {own}: pedro)."
    assert told in notes(table)
    section = table.sections[0]
    lora = next(line for line in section.lines if line.method == "lora").cells[3]
    reason = f"different protocols ({what} {theirs} and {own})"
    assert (lora.from_best, lora.untested) == (None, reason)
    verdict = next(v for v in section.verdicts if (v.other, v.task) == ("LoRA", "BoolQ"))
    turned = f"different protocols ({what} {own} and {theirs})"
    assert (verdict.verdict, verdict.reason) == ("not testable", turned)
    text = markdown(table)
    claim = "PEDRO above LoRA on BoolQ | PEDRO, Table 1 | not testable: different protocols |"
    assert claim in text
    assert f"Llama-2 7B: not testable, {turned}." in text
    assert section.ranks is None


def test_other_components_and_unknown_versions_are_no_other_protocol(tmp_path):
    five(tmp_path, "pedro", versions={"method.Pedro": 2, "trainer": 1})
    five(tmp_path, "lora", versions={"method.Lora": 1, "trainer": 1})
    five(tmp_path, "ia3")
    table = only(tmp_path)
    assert tuple(notes(table)) == ()
    assert sum(line.cells[0].from_best is not None for line in table.sections[0].lines) == 2


def test_rates_portions_and_the_same_weights_elsewhere_are_no_other_protocol(tmp_path):
    own = {"lr": 1e-3, "micro_batch_size": 4, "eval_batch_size": 8, "architecture_lr": 1e-4}
    five(tmp_path, "pedro", groups={"trainer": own, "backbone": {"path": "a"}}, **weights_of("a"))
    five(tmp_path, "lora", groups={"backbone": {"path": "b"}}, **weights_of("a"))
    table = only(tmp_path)
    assert tuple(notes(table)) == ()
    assert table.sections[0].lines[1].cells[0].from_best is not None


def test_rows_of_one_method_may_differ_in_the_settings_that_their_names_tell(tmp_path):
    for beams in (1, 3):
        five(tmp_path, "pedro", score=80.0 + beams, groups={"evaluation": {"num_beams": beams}})
    table = only(tmp_path)
    assert [line.name for line in table.sections[0].lines] == [
        "pedro [evaluation.num_beams=1]",
        "pedro [evaluation.num_beams=3]",
    ]
    assert tuple(notes(table)) == ()
    assert table.sections[0].lines[0].cells[0].from_best is not None
    five(tmp_path, "lora", score=70.0, groups={"evaluation": {"num_beams": 3}})
    table = only(tmp_path)
    sides = "3: lora, pedro [evaluation.num_beams=3]; 1: pedro [evaluation.num_beams=1]"
    assert tuple(notes(table)) == (
        f"Different evaluation.num_beams in one column: boolq ({sides}).",
    )


def test_other_commits_are_told_and_compared(tmp_path):
    five(tmp_path, "pedro", environment={"commit": "0123456789", "dirty": False})
    five(tmp_path, "lora", environment={"commit": "abcdef0123", "dirty": False})
    table = only(tmp_path)
    told = "Different commits in one column: boolq (abcdef01: lora; 01234567: pedro)."
    assert tuple(notes(table)) == (told,)
    assert table.sections[0].lines[1].cells[0].from_best is not None


def test_other_numbers_of_processes_are_told_and_compared(tmp_path):
    """Between rows, between the seeds of one row, and where the layers were split over them."""
    for seed in range(5):
        one, two = ({"processes": number, "dirty": False} for number in (1, 2))
        run(tmp_path, "pedro", seed=seed, score=80.0 + seed, environment=one)
        run(tmp_path, "lora", seed=seed, score=70.0 + seed, environment=two if seed else one)
        run(tmp_path, "ia3", seed=seed, environment=two, shares=2)
        run(tmp_path, "bitfit", seed=seed)  # an older record does not say
    table = only(tmp_path)
    told = "1: lora, pedro; 2 with the layers split: ia3; 2: lora"
    (note,) = notes(table)
    assert note.startswith("Different processes in one column: boolq (")
    assert sorted(note.rpartition("(")[2][:-2].split("; ")) == sorted(told.split("; "))
    cells = {line.method: line.cells[0] for line in table.sections[0].lines}
    assert cells["lora"].from_best is not None


def test_seeds_that_differ_within_a_column_are_told(tmp_path):
    for seed in range(8):
        run(tmp_path, "pedro", seed=seed)
        run(tmp_path, "ia3", seed=seed)
    for seed in (*range(10, 14), 20):
        run(tmp_path, "lora", seed=seed)
    for seed in range(3):  # what is merely missing is told as such
        run(tmp_path, "bitfit", seed=seed)
    table = only(tmp_path)
    assert tuple(notes(table)) == (
        "Fewer than 5 seeds: bitfit on boolq has 3.",
        "Fewer seeds than other cells of the column, so neither marked nor ranked: bitfit on boolq (3 of 5).",
        "Different seeds in one column: boolq (0-7: ia3, pedro; 10-13, 20: lora).",
    )
