"""Scoring of any system's predictions; the micro task is made on the spot."""

import json
import re

import pytest

from pedro_bench.cli.command import guarded
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.inspect import inspect
from pedro_bench.cli.score import read_predictions, score
from pedro_bench.data.splits import load_splits, with_fewer_test_rows
from pedro_bench.errors import DataError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_gold_answers_score_everything_and_half_scores_half(tmp_path, capsys):
    settings = settings_of(["task=sst2"])
    examples = load_splits(settings.task, settings.data)["dev"].examples
    gold = [{"index": i, "prediction": one.answer} for i, one in enumerate(examples)]
    path = write(tmp_path / "gold.jsonl", reversed(gold))
    assert score(["task=sst2", "split=dev", f"predictions={path}", "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rows"] == len(examples)
    assert found["metrics"][settings.task.main_metric] == 100.0
    half = [row if i % 2 else {**row, "prediction": "neither"} for i, row in enumerate(gold)]
    path = write(tmp_path / "half.jsonl", half)
    assert score(["task=sst2", "split=dev", f"predictions={path}", "output=json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"][settings.task.main_metric] == 50.0


def test_predictions_of_the_rows_that_runs_answered(tmp_path, capsys):
    few = "evaluation.test_rows=7"
    settings = settings_of(["task=sst2"])
    splits = with_fewer_test_rows(load_splits(settings.task, settings.data), settings.task, 7)
    gold = [{"index": i, "prediction": one.answer} for i, one in enumerate(splits.test.examples)]
    path = write(tmp_path / "gold.jsonl", gold)
    assert score(["task=sst2", few, f"predictions={path}", "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["rows"], found["metrics"][settings.task.main_metric]) == (7, 100.0)
    assert inspect(["task=sst2", few, "tokens=false", "output=json"]) == 0
    shown = json.loads(capsys.readouterr().out)["splits"]["test"]
    assert shown == {"rows": 7, "fingerprint": splits.test.fingerprint}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"index": 0, "prediction": "a"}'], r"each of the 2 rows of the split, got no row 1"),
        (['{"index": 0, "prediction": "a \\ud83d"}'], r":1: prediction must be text that UTF-8"),
        (['{"index": 0, "prediction": "\\ude00\\ud83d"}'], r":1: prediction must be .* '.ude00'"),
        (['{"index": 0, "prediction": "a"}'] * 2, r":2: index must stand once, got 0 again"),
        (['{"index": 2, "prediction": "a"}'], r":1: index must be a row from 0 to 1, got 2"),
        (['{"index": true, "prediction": "a"}'], r":1: index must be a row from 0 to 1, got True"),
        (['{"index": 0, "prediction": 1}'], r":1: prediction must be a text, got 1"),
        (['{"index": 0}'], r":1: a line must have index and prediction, got '{\"index\": 0}'"),
        (["{"], r":1: a line must be one JSON object, got '{'"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, lines, message):
    path = tmp_path / "predictions.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(DataError, match=re.escape(str(path)) + ".*" + message):
        read_predictions(path, 2)


def test_only_a_line_feed_ends_a_line(tmp_path):
    """Predictions are written as UTF-8; other line separators may stand in a text."""
    said = ["a\u2028b\x85c", "d\u2029e"]
    path = tmp_path / "predictions.jsonl"
    rows = [{"index": index, "prediction": text} for index, text in enumerate(said)]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_bytes("\r\n".join(["\ufeff" + lines[0], "", *lines[1:]]).encode())
    assert read_predictions(path, 2) == said
    path.write_bytes(b'{"index": 0, "prediction": "\xff"}\n')
    with pytest.raises(DataError, match="predictions.jsonl:1 must be UTF-8 text, got byte 0xff"):
        read_predictions(path, 1)


def test_bad_arguments(tmp_path, capsys):
    assert guarded(score, ["task=sst2"]) == 2
    assert "predictions must be a JSONL file, got None" in capsys.readouterr().err
    assert guarded(score, ["task=sst2", f"predictions={tmp_path / 'absent'}"]) == 2
    assert "absent': No such file or directory." in capsys.readouterr().err
    assert guarded(score, ["task=sst2", "split=tset", "predictions=x"]) == 2
    assert "got 'tset'" in capsys.readouterr().err
