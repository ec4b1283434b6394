"""Early stopping, worked by hand."""

from pedro_bench.training.early_stopping import EarlyStopping, stopping_rows


def test_it_stops_after_patience_evaluations_without_a_lower_loss() -> None:
    stopping = EarlyStopping(patience=3)
    outcomes = [
        (stopping.update(step, loss), stopping.is_over)
        for step, loss in ((2, 3.0), (4, 2.0), (6, 2.5), (8, 2.0), (10, 1.9), (12, 2.0), (14, 1.9))
    ]
    assert outcomes == [
        (True, False),
        (True, False),
        (False, False),
        (False, False),  # an equal loss is no improvement
        (True, False),
        (False, False),
        (False, False),
    ]
    assert (stopping.best_step, stopping.best_dev_loss, stopping.num_waited) == (10, 1.9, 2)
    assert stopping.update(16, 5.0) is False
    assert stopping.is_over


def test_it_never_stops_before_the_first_evaluation() -> None:
    assert not EarlyStopping(patience=1).is_over


def test_without_patience_it_never_stops() -> None:
    stopping = EarlyStopping(patience=None)
    for step in range(1, 100):
        stopping.update(step, float(step))
    assert (stopping.best_step, stopping.num_waited, stopping.is_over) == (1, 98, False)


def test_few_dev_rows_are_the_same_for_every_run() -> None:
    rows = [f"row {number}" for number in range(1000)]
    assert stopping_rows(rows, None) == stopping_rows(rows, 1000) == rows
    drawn = list(stopping_rows(rows, 400))
    assert drawn == list(stopping_rows(rows, 400))
    assert len(set(drawn)) == 400
    assert drawn == sorted(drawn, key=rows.index)
    assert 400 < sum(map(rows.index, drawn)) / 400 < 600, "they come from everywhere"
