"""The benchmark's invented records are records, and few of them take the whole way."""

import sys

from pedro_bench import records
from scripts import benchmark_aggregation as benchmark


def test_its_records_are_sound_and_as_many_as_asked_for(tmp_path):
    size = benchmark.write_all(tmp_path, 7)
    paths = records.find(tmp_path)
    assert len(paths) == 7
    assert {records.read(path).status for path in paths} == {"finished"}
    assert size > 4000


def test_it_times_reading_and_rendering(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark_aggregation.py", "--records", "10"])
    benchmark.main()
    shown = capsys.readouterr().out
    assert "10 records of" in shown
    assert "with statistics and 3 files:" in shown
