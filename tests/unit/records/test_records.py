import errno
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from pedro_bench import files, records
from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.errors import RecordError
from pedro_bench.records import RunRecord

BASE = {
    "key": "0123456789ab",
    "status": "finished",
    "method": "pedro",
    "task": "boolq",
    "backbone": "micro",
    "data": "micro",
    "suite": "main",
    "seed": 3,
    "config": {"method": {"name": "pedro", "r": 12}},
    "main_metric": "accuracy",
    "metrics": {"test": {"accuracy": 81.5}},
    "history": [{"step": 25, "dev_loss": 0.5}],
    "notes": ["2 examples were truncated."],
    "timing": {"train_seconds": 3.5},
    "started": "2026-01-01T00:00:00+00:00",
    "finished": "2026-01-01T00:01:00+00:00",
}


def record(**changes):
    return RunRecord(**{**BASE, **changes})


def test_what_is_written_is_read_again(tmp_path):
    path = records.write(record(), tmp_path)
    assert path == tmp_path / "runs/main/pedro--boolq--micro--0123456789ab--seed3.json"
    assert records.read(path).as_dict() == record().as_dict()
    assert records.find(tmp_path) == records.find(tmp_path, "main") == [path]
    assert records.find(tmp_path, "other") == []
    assert [one.name for one in path.parent.iterdir()] == [path.name]
    assert records.predictions_path(path) == path.parent / "predictions" / f"{path.stem}.jsonl"


def test_key_is_the_hash_of_canonical_json():
    # sha256 of '{"a":1,"b":["x"]}', computed with sha256sum
    assert records.run_key({"b": ["x"], "a": 1}) == "fd5e92badbe2"
    assert records.run_key({"a": 1, "b": ["x"]}) == records.run_key({"b": ["x"], "a": 1})
    assert records.run_key({"a": 2, "b": ["x"]}) != records.run_key({"a": 1, "b": ["x"]})
    with pytest.raises(RecordError, match=r"must be finite JSON values, got Out of range float"):
        records.run_key({"a": float("nan")})
    with pytest.raises(RecordError, match="must be finite JSON values, got .*set"):
        records.run_key({"a": {1}})


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "-flag", "", "a b", "é"])
def test_names_cannot_leave_the_folder(tmp_path, name):
    with pytest.raises(RecordError, match=r"suite must be a name of letters.*got " + repr(name)):
        records.suite_folder(tmp_path, name)
    for group in ("method", "data"):
        with pytest.raises(RecordError, match=rf"{group}.name must be a name of letters"):
            record(**{group: name})


def test_comparable_leaves_out_what_may_differ():
    one = record()
    other = record(timing={"train_seconds": 9.0}, memory={"peak_bytes": 1}, started="2027")
    assert records.comparable(one) == records.comparable(other)
    assert records.comparable(one) != records.comparable(record(seed=4))
    assert not set(records.VOLATILE) & set(records.comparable(one))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "done"}, r"must have a known status, got 'done'"),
        ({"seed": -1}, r"seed must be a whole number of at least 0, got -1"),
        ({"metrics": {"test": {"f1": 1.0}}}, r"main metric 'accuracy' in metrics.test, got none"),
        (
            {"metrics": {"test": {"accuracy": float("nan")}}},
            r"metrics.test.accuracy must be a finite",
        ),
        ({"status": "failed"}, r"a sentence in the field 'error'"),
    ],
)
def test_a_wrong_field_is_named(changes, message):
    with pytest.raises(RecordError, match=message):
        record(**changes)


def test_reading_names_file_and_field(tmp_path):
    path = records.write(record(), tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "sead": 1}))
    with pytest.raises(RecordError, match=rf"{path} .*only, got 'sead'. Did you mean 'seed'"):
        records.read(path)
    del content["key"]
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match=rf"{path} must have the field 'key', got none"):
        records.read(path)
    path.write_text("{")
    with pytest.raises(RecordError, match=rf"{path} must be JSON"):
        records.read(path)
    path.write_text("[]")
    with pytest.raises(RecordError, match=rf"{path} must be a JSON object, got list"):
        records.read(path)
    with pytest.raises(RecordError, match="absent.json must be readable, got No such file"):
        records.read(tmp_path / "absent.json")


def test_a_finished_run_is_read_and_what_is_none_is_named(tmp_path):
    path = records.write(record(), tmp_path)
    assert records.finished_run(str(path)) == records.read(path)
    failed = records.write(record(seed=1, status="failed", metrics={}, error="boom."), tmp_path)
    speed = records.write(record(suite="speed", config={"efficiency": {}}), tmp_path)
    away = path.with_name(path.name.replace("boolq", "bolq"))
    for place, found in (
        (away, f"none there. Did you mean {str(path)!r}?"),
        (
            tmp_path / "x" / "y.json",
            "none there: records are <results_dir>/runs/<suite>/<name>.json.",
        ),
        (failed, "status 'failed': give its command again."),
        (
            speed,
            "a measurement of speed, which leaves no adapter: name a record that `python -m pedro_bench` "
            "made.",
        ),
    ):
        with pytest.raises(RecordError) as error:
            records.finished_run(place)
        assert str(error.value) == f"record {place} must be that of a finished run, got {found}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": "3"}, r"types, got another: Expected `int`, got `str` - at `\$.seed`"),
        ({"seed": True}, r"Expected `int`, got `bool` - at `\$.seed`"),
        ({"metrics": []}, r"Expected `object`, got `array` - at `\$.metrics`"),
        ({"metrics": {"test": None}}, r"Expected `object`, got `null` - at `\$.metrics"),
        ({"splits": {"dev": {"rows": "many"}}}, r"Expected `int \| null`, got `str`"),
        ({"schema": 7}, r"have schema 2 or 1, got 7"),
    ],
)
def test_reading_names_a_wrong_type(tmp_path, change, message):
    path = records.write(record(), tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match=f"record {re.escape(str(path))} must .*{message}"):
        records.read(path)


OLD = {
    **BASE,
    "schema": 1,
    "best_step": 20,
    "splits": {"test": {"rows": 800, "fingerprint": "ab"}, "train": {"rows": 9}},
    "notes": [
        "The backbone's weights are sha256:12ab.",
        "The backbone's layers were split over 2 processes.",
        "3 rows were left out because their duplicate stands in a later split.",
        "12 of 800 test prompts were shortened to fit into 512 tokens, and 4 lost their answer.",
        "2 of 9 train answers were cut at their end to fit into 512 tokens.",
        "The search trained 77 parameters and ended after 30 steps, early, for want of a lower dev loss; "
        "what it found at step 10 was then trained from scratch.",
        "Training ended after 25 steps, at the last step.",
    ],
}


def test_an_older_record_tells_its_facts_in_fields(tmp_path):
    path = records.record_path(
        tmp_path,
        "main",
        **{name: BASE[name] for name in ("method", "task", "backbone", "key", "seed")},
    )
    files.write_text(path, json.dumps(OLD))
    found = records.read(path)
    assert (found.schema, found.weights, found.shares, found.max_tokens) == (
        2,
        "sha256:12ab",
        2,
        512,
    )
    assert found.splits["test"] == records.Split(
        rows=800, fingerprint="ab", shortened=12, lost_answers=4
    )
    assert found.splits["train"].cut_answers == 2
    search, last = found.phases
    assert (search.trainable, search.steps, search.best_step, search.stopped_early) == (
        77,
        30,
        10,
        True,
    )
    assert (last.trainable, last.steps, last.best_step, last.stopped_early) == (None, 25, 20, False)
    assert found.notes == OLD["notes"]
    again = records.write(found, tmp_path)
    assert records.read(again) == found
    files.write_text(path, json.dumps({**OLD, "sead": 1}))
    with pytest.raises(RecordError, match="fields only, got 'sead'"):
        records.read(path)


@pytest.mark.parametrize(
    ("own", "micro", "trained", "in_force"),
    [
        (None, 0.003, None, {"method": 0.003, "trainer": 0.001}),
        (None, None, None, {"method": None, "trainer": 0.001}),
        (0.5, 0.003, None, {"method": 0.5, "trainer": 0.001}),
        (None, 0.003, 0.02, {"method": None, "trainer": 0.02}),
    ],
)
def test_an_older_record_has_the_rate_that_was_in_force(own, micro, trained, in_force):
    older = {
        "method": {"name": "lora", "lr": own, "micro_lr": micro},
        "trainer": {"lr": trained, "untuned_lr": 0.001, "max_steps": 9},
        "suite": "main",
    }
    found = records.config_now(older)
    assert found == {
        "method": {"name": "lora", "lr": in_force["method"]},
        "trainer": {"lr": in_force["trainer"], "max_steps": 9},
        "suite": "main",
    }
    assert records.config_now(found) is found


def test_an_older_record_has_the_names_of_today():
    older = {"backbone": {"_target_": "pedro_bench.backbones.llama.Llama", "name": "micro"}}
    today = f"{Pretrained.__module__}.{Pretrained.__qualname__}"
    found = records.config_now({**older, "method": {"label": "Learned Adapter"}})
    assert found["backbone"] == {"_target_": today, "name": "micro"}
    assert found["method"] == {"label": "Learned-Adapter"}
    assert records.config_now(found) is found


def test_a_record_in_the_wrong_file_is_refused(tmp_path):
    path = records.write(record(), tmp_path)
    moved = path.rename(path.with_name("pedro--boolq--micro--0123456789ab--seed4.json"))
    with pytest.raises(RecordError, match=r"must lie in a file named pedro--boolq.*--seed3.json"):
        records.read(moved)


def test_a_folder_that_is_a_file_is_one_sentence(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(RecordError, match=r"must be writable, got (Not a directory|File exists)"):
        records.write(record(), tmp_path)


@pytest.mark.fault(
    what="A record's write breaks off",
    how="killed or disk full while it is written",
    lost="nothing: the old file stays whole",
)
def test_a_write_that_breaks_off_leaves_the_old_file_whole(tmp_path):
    # A limit on the size of files stops the write in its middle, as a full disk does.
    script = """
import pathlib, resource, signal, sys
from pedro_bench.errors import RecordError
from pedro_bench.files import write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_text(pathlib.Path(sys.argv[1]), "x" * 5000)
except RecordError as error:
    print(error)
"""
    path = tmp_path / "record.json"
    path.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    assert re.search(r"must be writable, got File too large: free some space", done.stdout)
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["record.json"]


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    here = hashlib.sha256(files.boot().encode()).hexdigest()[:8]
    left = [
        tmp_path / f".other.json--by--{machine}.{process}.part"
        for machine, process in (
            (f"{platform.node()}-{here}", 99999999),
            (f"{platform.node()}-{here}", os.getppid()),
            (f"another-machine-{here}", 99999999),
            (f"{platform.node()}-01234567", 99999999),  # of the same name
        )
    ]
    for path in left:
        path.write_text("half")
    files.write_text(tmp_path / "record.json", "whole")
    assert (tmp_path / "record.json").read_text() == "whole"
    assert [path.exists() for path in left] == [False, True, True, True]


def test_half_files_of_other_users_stay_where_they_live_and_stop_no_write(tmp_path, monkeypatch):
    """A live one whose process /proc hides, and a dead one in a folder with the sticky bit."""
    here = hashlib.sha256(files.boot().encode()).hexdigest()[:8]
    left = {
        process: tmp_path / f".other.json--by--{platform.node()}-{here}.{process}.part"
        for process in (99999998, 99999999)
    }
    for path in left.values():
        path.write_text("half")

    def kill(process, _):
        raise PermissionError if process == 99999998 else ProcessLookupError

    def unlink(path, **_):
        asked.append(path)
        raise PermissionError(errno.EPERM, "Operation not permitted")

    asked = []
    monkeypatch.setattr(files.os, "kill", kill)
    monkeypatch.setattr(Path, "unlink", unlink)
    files.write_text(tmp_path / "record.json", "whole")
    assert (tmp_path / "record.json").read_text() == "whole"
    assert asked == [left[99999999]]


def stale(times):
    """Return a function that NFS tells so often that its file was replaced meanwhile."""
    left = [errno.ESTALE] * times

    def answer():
        if left:
            raise OSError(left.pop(), "Stale file handle")
        return b"{}"

    return answer


def test_a_file_that_another_machine_replaces_is_opened_again(tmp_path, monkeypatch):
    place = tmp_path / "file"
    answer = stale(files.STALE_RETRIES)
    files.write_whole(place, lambda beside: beside.write_bytes(answer()))
    assert place.read_bytes() == b"{}"
    for times in (files.STALE_RETRIES, files.STALE_RETRIES + 1):
        answer = stale(times)
        monkeypatch.setattr(Path, "read_bytes", lambda _, answer=answer: answer())
        if times == files.STALE_RETRIES:
            assert files.read_bytes(place) == b"{}"
        else:
            with pytest.raises(RecordError, match="must be readable, got Stale file handle"):
                records.read(place)


def test_a_folder_of_many_records_is_searched_once(tmp_path, monkeypatch):
    searched = []
    glob = Path.glob
    monkeypatch.setattr(Path, "glob", lambda *given: searched.append(given) or glob(*given))
    for number in range(3):
        files.write_text(tmp_path / f"{number}.json", "whole")
    assert len(searched) == 1


def test_non_finite_numbers_are_refused_and_nothing_is_left(tmp_path):
    bad = record(timing={"train_seconds": float("nan")})
    with pytest.raises(RecordError, match="must hold finite JSON values, got Out of range float"):
        records.write(bad, tmp_path)
    assert records.find(tmp_path) == []
    assert not (tmp_path / "runs").exists()


def test_tables_know_every_field_of_a_record():
    """`analysis.run.Run` leaves parts of a record undecoded, so it names the fields again."""
    from pedro_bench.analysis.run import Run

    known = {one.encode_name for one in msgspec.structs.fields(Run)}
    assert {one.encode_name for one in msgspec.structs.fields(records.RunRecord)} <= known


def test_a_folder_that_cannot_be_read_is_one_sentence(tmp_path, monkeypatch):
    path = records.write(record(), tmp_path)

    def refuse(folder):
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr("pedro_bench.records.store.os.scandir", refuse)
    for suite in (None, "main"):
        with pytest.raises(
            RecordError, match=f"folder {path.parent} must be readable, got Permission"
        ):
            records.find(tmp_path, suite)
