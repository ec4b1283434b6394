"""Points of the page: the unbeaten by what is better in a column, and axes named after it."""

from pedro_bench.reporting.charts import point_chart
from pedro_bench.reporting.points import Point
from pedro_bench.reporting.report import Column


def chart_of(metric, *scores, sizes=(10, 20, 30)):
    column = Column("generate", "Beam 1", metric)
    made = [
        Point(name, name, (), score, score, score, 5, count, None)
        for name, score, count in zip("abc", scores, sizes, strict=True)
    ]
    return point_chart("parameters", column, made, ["a", "b", "c"])


def test_the_front_holds_the_least_where_less_is_better():
    memory = chart_of("memory_mib", 14000.0, 15000.0, 16000.0)
    assert len(memory.front.split()) == 1  # the smallest one needs the least
    assert len(chart_of("memory_mib", 16000.0, 15000.0, 14000.0).front.split()) == 3
    assert len(chart_of("acc", 60.0, 70.0, 80.0).front.split()) == 3


def test_an_axis_has_the_name_of_the_metric():
    assert chart_of("memory_mib", 1.0, 2.0, 3.0).y_label == "memory_mib, lower is better"
    assert chart_of("acc", 1.0, 2.0, 3.0).y_label == "acc"
    assert chart_of(None, 1.0, 2.0, 3.0).y_label == "score"
    assert chart_of("acc", 1.0, 2.0, 3.0).title == "Beam 1"


def test_a_narrow_axis_has_ticks_too_and_each_says_its_value():
    chart = chart_of("acc", 60.0, 70.0, 80.0, sizes=(960, 1000, 1040))
    assert [text for _, text in chart.x_ticks] == ["960", "980", "1K", "1.02K", "1.04K"]
    wide = chart_of("acc", 60.0, 70.0, 80.0, sizes=(10_000, 100_000, 1_500_000))
    assert "50K" in [text for _, text in wide.x_ticks]


def test_a_point_brings_its_name_and_where_it_stands():
    mark = chart_of("acc", 60.0, 70.0, 80.0).marks[0]
    assert mark.label == "a"
    assert mark.name is not None
