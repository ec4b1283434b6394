"""`cli.pack`: what is packed is read by every command; what cannot be is refused in one sentence."""

import json

import pytest

from pedro_bench import records
from pedro_bench.cli.command import guarded
from pedro_bench.cli.pack import pack
from tests.unit.records.test_records import record


def test_it_packs_and_unpacks(tmp_path, capsys):
    path = records.write(record(), tmp_path)
    assert guarded(pack, ["suite=main", f"results_dir={tmp_path}", "output=json"]) == 0
    folder = str(tmp_path / "runs" / "main")
    told = json.loads(capsys.readouterr().out)
    assert told == {"suites": {"main": {"folder": folder, "records": 1, "predictions": 0}}}
    assert not path.is_file()
    assert guarded(pack, ["suite=[main]", f"results_dir={tmp_path}", "unpack=true"]) == 0
    assert capsys.readouterr().out == f"1 records and 0 predictions unpacked into {folder}\n"
    assert path.is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "suite must be given, got nothing"),
        (["suite=[]"], "suite must be given, got nothing"),
        (["suite=other"], "suite must be one with records, got 'other'"),
        (["suite=mian"], "Did you mean 'main'? Known: main."),
        (["suite=mian", "unpack=true"], "Did you mean 'main'? Known: main."),
        (["suite=../x"], "suite must be a name of letters"),
        (["suite=main", "unpack=1"], "unpack must be true or false, got 1"),
        (["suite=main", "unpack=true"], "suite must be a packed one, got 'main'"),
        (["sute=main"], "sute"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, capsys, arguments, message):
    records.write(record(), tmp_path)
    assert guarded(pack, [*arguments, f"results_dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
