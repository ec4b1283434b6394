import json
import math

import numpy as np
import pytest
from matplotlib.container import ErrorbarContainer

from pedro_bench.errors import RecordError
from pedro_bench.nn.rational import GELU_DENOMINATOR, GELU_NUMERATOR
from pedro_bench.reporting.activations import (
    Activations,
    Coefficients,
    activations_path,
    gelu,
    rational,
    read_activations,
    shown_layers,
    write_activations,
)
from pedro_bench.reporting.build import reports
from pedro_bench.reporting.curves import task_curves
from pedro_bench.reporting.drawing import house_style, line_style, rendered
from pedro_bench.reporting.figures import activation_figure, budget_figure, curve_figure
from pedro_bench.reporting.load import load
from pedro_bench.reporting.points import Point, front, has_several_sizes, points
from pedro_bench.reporting.stored import read_runs
from tests.unit.reporting.runs import five, run

INITIAL = Coefficients(GELU_NUMERATOR, GELU_DENOMINATOR)


def only_report(results_dir):
    (report,) = reports(load(results_dir))
    return report, report.sections[0]


@pytest.fixture
def budgets(tmp_path):
    for r, score in ((3, 60.0), (12, 70.0), (48, 65.0)):
        five(tmp_path, score=score, r=r, parameters={"matrices": 1000 * r, "trainable": 1100 * r})
    five(tmp_path, "lora", score=66.0, parameters={"matrices": 9000, "trainable": 9000})
    return only_report(tmp_path)


def test_the_budget_figure_draws_medians_and_quartiles_by_matrices(budgets):
    report, section = budgets
    assert has_several_sizes(section)
    with house_style():
        figure = budget_figure(report, section)
    (panel,) = figure.axes
    drawn = {one.get_label(): one for one in panel.containers if isinstance(one, ErrorbarContainer)}
    line, _, (bars,) = drawn["PEDRO"]
    assert line.get_xydata().tolist() == [[3000, 60], [12000, 70], [48000, 65]]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends == [[59, 61], [69, 71], [64, 66]]  # quartiles of score + (2, -1, 0, 1, -2)
    assert drawn["LoRA"][0].get_xydata().tolist() == [[9000, 66]]
    assert "micro results" in figure.get_suptitle().replace("\n", " ")


def test_one_size_makes_no_budget_figure(tmp_path):
    five(tmp_path, parameters={"matrices": 12})
    five(tmp_path, "lora", parameters={"matrices": 24})
    assert not has_several_sizes(only_report(tmp_path)[1])


def test_the_curve_figure_draws_the_median_where_all_seeds_have_a_loss(tmp_path):
    for seed, losses in enumerate(([4.0, 2.0, 1.0], [5.0, 4.0], [9.0, 3.0, 2.0])):
        history = [{"step": 10 * n, "dev_loss": loss} for n, loss in enumerate(losses, start=1)]
        run(tmp_path, seed=seed, history=history)
    report, section = only_report(tmp_path)
    shown = task_curves(section)
    assert shown["BoolQ"][0].seeds[1] == ((10, 5), (20, 4))
    with house_style():
        (panel,) = curve_figure(report, section, shown).axes
    (line,) = panel.get_lines()
    assert line.get_xydata().tolist() == [[10, 5], [20, 3]]
    assert panel.get_yscale() == "log"


def test_a_run_without_history_has_no_curve(tmp_path):
    run(tmp_path)
    assert task_curves(only_report(tmp_path)[1]) == {}


def test_the_activation_figure_draws_layers_gelu_and_the_initial_fit(tmp_path):
    path = run(tmp_path)
    flat = Coefficients((0.5, *[0.0] * 6), (0.0,) * 5)
    learned = Activations(INITIAL, dict.fromkeys(range(1, 5), flat))
    with house_style():
        figure = activation_figure(read_runs([path])[0], learned, is_micro=True)
    whole, difference = figure.axes
    lines = {line.get_label(): line for line in whole.get_lines()}
    assert list(lines) == ["GELU", "initial fit", "layer 1", "layer 2", "layer 3", "layer 4"]
    assert set(lines["layer 3"].get_ydata()) == {0.5}
    x = lines["GELU"].get_xdata()
    exact = [value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x]
    np.testing.assert_allclose(lines["GELU"].get_ydata(), exact, atol=1e-12)
    fit = lines["initial fit"].get_ydata() - lines["GELU"].get_ydata()
    assert 1e-3 < np.abs(fit).max() < 1.4e-3
    np.testing.assert_array_equal(difference.get_lines()[1].get_ydata(), fit)
    assert "micro results" in figure.get_suptitle().replace("\n", " ")


def test_r_is_what_the_method_computes():
    import torch

    from pedro_bench.nn.rational import Rational

    x = torch.linspace(-4, 4, 33)
    expected = Rational()(x).detach().double().numpy()
    np.testing.assert_allclose(rational(x.double().numpy(), INITIAL), expected, atol=1e-6)
    assert gelu(np.zeros(1)).tolist() == [0.0]


@pytest.mark.parametrize(
    ("depth", "layers"),
    [
        (32, (1, 9, 17, 25)),
        (40, (1, 9, 17, 25)),
        (16, (1, 5, 9, 13)),
        (6, (1, 2, 4, 5)),
        (2, (1, 2)),
    ],
)
def test_layers_of_the_paper_or_the_same_shares_of_the_depth(depth, layers):
    assert shown_layers(depth) == layers


def test_activations_are_kept_beside_the_record(tmp_path):
    record = run(tmp_path)
    assert read_activations(record) is None
    learned = Activations(INITIAL, dict.fromkeys(range(1, 12), INITIAL))
    assert write_activations(record, learned) == activations_path(record)
    assert read_activations(record) == learned
    activations_path(record).write_text(json.dumps({"layers": 3}))
    with pytest.raises(RecordError, match="must hold the coefficients of a run's activations, got"):
        read_activations(record)


def test_the_same_data_gives_the_same_bytes_without_a_date(budgets):
    report, section = budgets
    first = rendered(lambda: budget_figure(report, section))
    assert first == rendered(lambda: budget_figure(report, section))
    assert first["pdf"].startswith(b"%PDF") and first["png"].startswith(b"\x89PNG")
    assert b"CreationDate" not in first["pdf"] and b"Software" not in first["png"]


def test_lines_differ_without_colour():
    styles = [line_style(number) for number in range(36)]
    assert len({(str(one["linestyle"]), one["marker"]) for one in styles}) == 36


def test_points_have_the_median_speed_and_the_front_the_unbeaten(tmp_path):
    for seed, speed in enumerate((100.0, 300.0, 200.0)):
        run(tmp_path, seed=seed, score=80.0, timing={"tokens_per_second": speed})
    (point,) = points(only_report(tmp_path)[1], 0)
    assert (point.speed, point.seeds, point.parameters) == (200.0, 3, None)
    made = [
        Point(name, name, (), score, score, score, 5, count, None)
        for name, score, count in (("a", 70, 10), ("b", 60, 20), ("c", 80, 30), ("d", 90, None))
    ]
    assert [one.method for one in front(made, lambda p: p.parameters, 1)] == ["a", "c"]
    assert [one.method for one in front(made, lambda p: p.parameters, -1)] == ["a", "b"]
