from dataclasses import replace

from pedro_bench.analysis.series import Point, curves, front, has_several_sizes, points
from pedro_bench.analysis.table import Line
from tests.unit.analysis.runs import five, only, run


def test_curves_have_a_median_where_all_seeds_have_a_loss(tmp_path):
    for seed, losses in enumerate(([4.0, 2.0, 1.0], [5.0, 4.0], [9.0, 3.0, 2.0])):
        history = [{"step": 10 * n, "dev_loss": loss} for n, loss in enumerate(losses, start=1)]
        run(tmp_path, seed=seed, history=[*history, {"step": 99, "train_loss": 1.0}])
    run(tmp_path, "lora")
    table = only(tmp_path)
    (curve,) = curves(table, table.sections[0])["BoolQ"]
    assert curve.seeds[1] == ((10, 5), (20, 4))
    assert curve.median == ((10, 5), (20, 3))


def test_runs_without_history_have_no_curves(tmp_path):
    run(tmp_path)
    table = only(tmp_path)
    assert curves(table, table.sections[0]) == {}


def test_one_size_is_not_several(tmp_path):
    five(tmp_path, parameters={"matrices": 12})
    five(tmp_path, "lora", parameters={"matrices": 24})
    assert not has_several_sizes(only(tmp_path).sections[0])
    five(tmp_path, r=24, parameters={"matrices": 25})
    assert has_several_sizes(only(tmp_path).sections[0])


def test_points_have_the_median_speed(tmp_path):
    for seed, speed in enumerate((100.0, 300.0, 200.0)):
        run(tmp_path, seed=seed, score=80.0, timing={"tokens_per_second": speed})
    (point,) = points(only(tmp_path).sections[0], 0)
    assert (point.at("speed"), point.at("parameters"), point.median) == (200.0, None, 80.0)


def test_a_run_with_several_metrics_costs_what_it_costs_once(tmp_path):
    e2e = {"suite": "red_table2", "backbone": "gpt2_medium", "data": "files"}
    scores = {"test": {"bleu": 60.0, "nist": 8.0, "rouge_l": 60.0}}
    run(
        tmp_path,
        "red",
        "e2e",
        metrics=scores,
        main_metric="bleu",
        timing={"train_seconds": 90.0},
        **e2e,
    )
    for task, seconds in (("sst2", 10.0), ("rte", 20.0)):
        run(tmp_path, "red", task, timing={"train_seconds": seconds}, **e2e)
    (line,) = [line for line in only(tmp_path).sections[0].lines if line.method == "red"]
    assert line.costs["train_seconds"] == 20.0


def test_the_front_holds_the_unbeaten():
    made = [
        Point(Line(name, name, "", 0, count, None), score, score, score, count, costs)
        for name, score, count, costs in (
            ("a", 70, 10, {"train_tokens_per_second": 5.0, "train_seconds": 3.0}),
            ("b", 60, 20, {"train_tokens_per_second": 9.0, "train_seconds": 2.0}),
            ("c", 80, 30, {"train_tokens_per_second": 1.0}),
            ("d", 90, None, {}),
        )
    ]  # fmt: skip
    assert [one.line.method for one in front(made, "parameters", 1)] == ["a", "c"]
    assert [one.line.method for one in front(made, "parameters", -1)] == ["a", "b"]
    assert [one.line.method for one in front(made, "speed", 1)] == ["b", "a", "c"]
    assert [one.line.method for one in front(made, "seconds", 1)] == ["b", "a"]
    few = [replace(one, is_short=one.line.method == "a") for one in made]
    assert [one.line.method for one in front(few, "parameters", 1)] == ["b", "c"]
