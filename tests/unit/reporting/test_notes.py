"""Doubts that stand under a table, from invented records, one by one."""

import csv
import io

import pytest

from pedro_bench.grid.tuning import rungs
from pedro_bench.reporting.captions import missing
from pedro_bench.reporting.notes import notes
from pedro_bench.reporting.text import comma_separated, markdown
from tests.unit.analysis.runs import five, only, run

E2E = {"main_metric": "bleu", "suite": "red_table5", "backbone": "gpt2_medium", "data": "files"}


def test_seeds_are_counted_for_each_metric(tmp_path):
    for seed in range(5):
        scores = {"bleu": 60.0 + seed, "cider": 2.0 + seed}
        own = scores if seed < 3 else {"bleu": scores["bleu"]}
        run(tmp_path, "red", "e2e", seed, metrics={"test": own}, **E2E)
        run(tmp_path, "lora_red_gpt2", "e2e", seed, metrics={"test": {"bleu": 50.0}}, **E2E)
    table = only(tmp_path)
    rows = csv.DictReader(io.StringIO(comma_separated(table)))
    cells = {(row["method"], row["metric"]): row for row in rows}
    names = ("seeds", "median", "status")
    found = {place: tuple(row[name] for name in names) for place, row in cells.items()}
    assert found["red", "bleu"] == ("5", "62", "finished")
    assert found["red", "cider"] == ("3", "3", "partial")
    assert found["lora_red_gpt2", "cider"] == ("0", "", "missing")
    lora = "lora_red_gpt2 on e2e (seed 0, 1, 2, 3, 4)"
    assert f"No cider: {lora}, red on e2e (seed 3, 4)." in notes(table)
    assert "Fewer than 5 seeds: red on e2e has 3 with cider." in notes(table)
    assert "lora_red_gpt2 on e2e (cider)" in missing(table)
    assert "adapter_ffn on e2e" in missing(table)
    assert "lora_red_gpt2 on e2e" not in missing(table)
    assert "lora_red_gpt2 on e2e (nist), e2e (meteor_1.5), e2e (rouge_l), e2e (cider);" in markdown(
        table
    )


def test_a_method_with_another_main_metric_is_not_called_unfinished(tmp_path):
    places = {"suite": "table1", "backbone": "llama2_7b", "data": "hub"}
    five(tmp_path, "lora", **places)
    for seed in range(5):
        metrics = {"test": {"likelihood_acc": 80.0}}
        run(
            tmp_path,
            "pedro",
            "boolq",
            seed,
            main_metric="likelihood_acc",
            metrics=metrics,
            **places,
        )
    table = only(tmp_path)
    assert "No acc: pedro on boolq (seed 0, 1, 2, 3, 4)." in notes(table)
    found = {(one.other, one.task): one.reason for one in table.sections[0].verdicts}
    assert found["LoRA", "BoolQ"] == "no finished run of pedro on boolq has acc"
    assert found["LoRA", "SQuAD"] == "no finished run of pedro on squad"


def test_shortened_texts_are_told_by_cell(tmp_path):
    splits = {
        "test": {"rows": 800, "shortened": 12, "lost_answers": 3},
        "train": {"rows": 4000, "cut_answers": 7},
    }
    for seed in range(5):
        run(tmp_path, "pedro", seed=seed, splits=splits)
        run(tmp_path, "lora", seed=seed, splits={"test": {"rows": 9, "shortened": 5}})
        run(tmp_path, "ia3", seed=seed, notes=["12 of 800 test prompts were shortened to fit."])
    table = only(tmp_path)
    told = "(12 of 800 test prompts, 3 lost their answer; 7 of 4000 train answers)"
    assert tuple(notes(table)) == (
        f"Shortened to fit: lora on boolq (5 of 9 test prompts), pedro on boolq {told}.",
    )


def test_one_run_is_not_told_as_several(tmp_path):
    run(tmp_path, "lora", environment={"dirty": True})
    for seed in range(2):
        run(tmp_path, "pedro", seed=seed, environment={"dirty": True})
    told = "Uncommitted code: lora on boolq (1 of 1 run), pedro on boolq (2 of 2 runs)."
    assert told in notes(only(tmp_path))


def test_below_five_seeds_the_spread_has_no_interval(tmp_path):
    five(tmp_path, "lora")
    for seed in range(3):
        run(tmp_path, "pedro", seed=seed, score=80.0 + seed)
    table = only(tmp_path)
    text = markdown(table)
    assert "| PEDRO | IQR 1.00 sd 1.00 |" in text
    assert "| LoRA | [78.00, 82.00] IQR 2.00 sd 1.58 |" in text
    assert (
        "- Over 5 seeds alone it is their range, which holds the median in 93.75% of cases." in text
    )
    assert "- No interval below 5 seeds." in text


def test_what_was_never_begun_is_told_only_where_a_paper_has_it(tmp_path):
    """A small suite's columns are tasks with records; a grid of one's own is not in its records."""
    places = {"backbone": "minilm", "data": "files", "task": "stsb"}
    five(tmp_path, "lora", suite="small_red_table1", **places)
    small = markdown(only(tmp_path))
    assert (
        "Missing, of the paper's methods on the tasks that have records: full_ft on stsb;" in small
    )
    told = "Tasks of the paper's table without a record, and so without a column: mnli, sst2, mrpc, cola,"
    assert told in small
    own = tmp_path / "own"
    five(own, "lora", **places)
    assert "Missing" not in markdown(only(own))
    assert "without a record" not in markdown(only(own))
    five(own, "pedro", **{**places, "task": "mrpc"})
    told = "Missing, of the methods and tasks that have records: lora on mrpc; pedro on stsb."
    assert told in markdown(only(own))


def test_rows_from_before_a_change_of_their_method_say_so(tmp_path):
    places = {"suite": "micro_table1"}
    ssp = {"_target_": "pedro_bench.methods.ssp.Ssp", "r": 4}
    five(tmp_path, "ssp", groups={"method": ssp}, **places)
    five(tmp_path, "lora", **places)
    table = only(tmp_path)
    change = "SSP's LoRA modules were scaled by 16 as in the authors' code, and not by 1"
    assert f"Made before {change}: ssp." in notes(table)
    five(tmp_path / "new", "ssp", groups={"method": {**ssp, "alpha": 16.0}}, **places)
    table = only(tmp_path / "new")
    assert not [note for note in notes(table) if note.startswith("Made before")]
    five(tmp_path, "ssp", groups={"method": {**ssp, "alpha": 16.0}}, **places)
    table = only(tmp_path)
    assert f"Made before {change}: ssp [alpha=1]." in notes(table)


@pytest.mark.parametrize(
    ("trials", "halving", "seeds", "told"),
    [
        (
            7,
            True,
            [3, 4, 5],
            ", halved from seed to seed: all with seed 3, the best two with every one",
        ),
        (7, False, [3, 4, 5], ""),
        (7, True, [3], ""),
        (2, True, [3, 4, 5], ""),
    ],
)
def test_a_halved_search_is_told_as_such(trials, halving, seeds, told, tmp_path):
    """Exactly where the search left trials out."""
    tried = {"trials": trials, "lr": [1e-4, 1e-2], "seeds": seeds, "halving": halving}
    tried |= {"tasks": ["sst2"], "date": "2026-01-02"}
    run(tmp_path, groups={"trainer": {"tried": tried}})
    (note,) = [one for one in notes(only(tmp_path)) if one.startswith("Learning rates chosen")]
    assert f"{trials} trials each from 0.0001 to 0.01{told} (seeds {seeds[0]}" in note
    ran = list(rungs(trials, seeds, is_halved=halving))
    assert bool(told) == (ran[-1] != (trials, seeds))
    if told:
        assert ran[0] == (trials, seeds[:1])
        assert ran[-1][0] == 2


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ({}, ""),
        ({"max_steps": 1000, "num_epochs": 10}, " of up to 1,000 steps"),
        ({"max_steps": None, "num_epochs": 10}, " of up to 10 epochs"),
        ({"max_steps": None}, ""),
    ],
)
def test_the_length_of_a_searchs_trials_is_told_where_it_is_known(bounds, told, tmp_path):
    tried = {"trials": 6, "lr": [1e-4, 1e-2], "seeds": [0], "halving": True}
    tried |= {"tasks": ["sst2"], "date": "2026-01-02", **bounds}
    run(tmp_path, groups={"trainer": {"tried": tried}})
    (note,) = [one for one in notes(only(tmp_path)) if one.startswith("Learning rates chosen")]
    assert f"6 trials each{told} from 0.0001 to 0.01 (seeds 0; tasks sst2; 2026-01-02)" in note


def test_a_search_that_somebody_wrote_by_hand_is_shown_as_it_is(tmp_path):
    run(tmp_path, groups={"trainer": {"tried": {"trials": 6, "by": "hand"}}})
    told = 'Learning rates chosen on dev data, {"trials": 6, "by": "hand"}: pedro.'
    assert told in notes(only(tmp_path))
