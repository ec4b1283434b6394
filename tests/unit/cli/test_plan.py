"""The plan of a grid: what is there, what is missing, and what it will take."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pedro_bench import grid, records
from pedro_bench.analysis.reading import read_runs
from pedro_bench.cli import plan as plan_module
from pedro_bench.cli.command import guarded
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.cli.hydra.sweep import Combination
from pedro_bench.cli.plan import Earlier, _duration, look, plan
from pedro_bench.errors import ConfigError
from pedro_bench.grid.grid import Grid
from pedro_bench.grid.leases import Leases
from pedro_bench.grid.planning import PlannedRun
from pedro_bench.records import RunRecord
from pedro_bench.runs import environment
from pedro_bench.runs.identity import run_key

GRID = ["method=lora", "task=copa", "device=cpu"]


def planned(capsys, *arguments):
    assert plan([*arguments, "output=json"]) == 0
    return json.loads(capsys.readouterr().out)


def write(settings, seed, **changes):
    (path,) = [place for number, place, _ in grid.plan(settings) if number == seed]
    fields = {
        "key": path.stem.split("--")[3],
        "status": "finished",
        "method": settings.method.name,
        "task": settings.task.name,
        "backbone": "micro",
        "data": "micro",
        "suite": settings.suite,
        "seed": seed,
        "config": settings.resolved_config,
        "main_metric": "acc",
        "metrics": {"test": {"acc": 80.0}},
        "parameters": {"total": settings.backbone.shape().num_parameters},
        "timing": {"train_seconds": 20.0, "test_seconds": 5.0},
        "memory": {"peak_bytes": 10**9, "of": "process"},
        "environment": {"device": "cpu"},
        "started": "2026-01-01T00:00:00+00:00",
        **changes,
    }
    assert records.write(RunRecord(**fields), settings.results_dir) == Path(path)
    if fields["status"] == "finished":
        records.predictions_path(path).parent.mkdir(exist_ok=True)
        records.predictions_path(path).touch()


def test_counts_and_costs_from_records(tmp_path, capsys):
    where = f"results_dir={tmp_path}"
    settings = settings_of([*GRID, where])
    write(settings, 0)
    write(settings, 1, timing={"train_seconds": 30.0, "test_seconds": 5.0})
    write(settings, 2, status="failed", metrics={}, error="out of memory.")
    write(settings, 3, status="running", metrics={})
    found = planned(capsys, *GRID, where)
    counts = {name: found[name] for name in ("runs", "finished", "missing", "failed", "running")}
    assert counts == {"runs": 5, "finished": 2, "missing": 1, "failed": 1, "running": 1}
    assert found["due"] == 3
    assert (found["seconds"], found["peak_bytes"]) == (3 * 30.0, 10**9)
    (job,) = found["jobs"]
    assert job["from"] == "records of this method and task"
    assert (job["overrides"], job["method"], job["task"]) == ([], "lora", "copa")
    earlier = Earlier(str(tmp_path))
    ia3 = replace(settings, method=replace(settings.method, name="ia3"))
    assert earlier.cost(ia3).source == "records of this task"
    search = settings_of(["method=ssp", *GRID[1:], where])
    three = (3 * 20.0 + 3 * 30.0) / 2 + 5.0
    assert earlier.cost(search).seconds == three, "two levels, and the training after it; one test"
    elsewhere = replace(ia3, task=replace(settings.task, name="squad"))
    assert earlier.cost(elsewhere).source == "records of this backbone"
    faster = {**settings.resolved_config["trainer"], "lr": 0.5, "tried": {"trials": 7}}
    tuned = {**settings.resolved_config, "trainer": faster}
    assert earlier.cost(replace(settings, resolved_config=tuned)).seconds == 30.0
    longer = {**settings.resolved_config, "trainer": {"max_steps": 300}}
    assert earlier.cost(replace(settings, resolved_config=longer)) is None
    assert earlier.cost(replace(settings, backbone=replace(settings.backbone, name="x"))) is None


@pytest.mark.parametrize(
    ("more", "due"), [(["rerun=true"], 5), (["retry=true"], 2), (["seeds=[0,1]"], 1), ([], 4)]
)
def test_what_is_due_is_what_the_command_would_do(tmp_path, capsys, more, due):
    """Of two finished runs one has lost its predictions; another failed and a third was begun."""
    where = f"results_dir={tmp_path}"
    settings = settings_of([*GRID, where])
    write(settings, 0)
    write(settings, 1)
    write(settings, 2, status="failed", metrics={}, error="out of memory.")
    write(settings, 3, status="running", metrics={})
    records.predictions_path(grid.plan(settings)[1][1]).unlink()
    found = planned(capsys, *GRID, where, *more)
    assert (found["due"], found["jobs"][0]["due"], found["seconds"]) == (due, due, due * 25.0)
    (one,) = Grid.planned([((), settings_of([*GRID, where, *more]))]).configurations
    assert len(one.due) == due


@pytest.mark.parametrize(
    "change",
    [
        "evaluation.num_beams=10",
        "evaluation.test_rows=16",
        "evaluation=both",
        "backbone.dtype=bfloat16",
    ],
)
def test_runs_that_do_more_or_less_are_no_measure(tmp_path, change):
    where = f"results_dir={tmp_path}"
    write(settings_of([*GRID, where]), 0)
    earlier = Earlier(str(tmp_path))
    assert earlier.cost(settings_of([*GRID, where, "evaluation.batch_size=8"])) is not None
    assert earlier.cost(settings_of([*GRID, where, change])) is None


def test_runs_of_another_model_or_data_under_the_same_name_are_no_measure(tmp_path):
    settings = settings_of([*GRID, f"results_dir={tmp_path}"])
    write(settings, 0, parameters={"total": 7})
    write(settings, 1, data="files")
    assert Earlier(str(tmp_path)).cost(settings) is None


@pytest.mark.parametrize(
    ("steps", "batches"),
    [
        ((150, 150), 3),  # two of the search's two levels, one of the training
        ((50, 100), 2),  # patience ended the search: 100 batches, and 100 of the training
        ((), 2),  # an older record: only its two levels are known
    ],
)
def test_a_record_of_a_search_counts_what_its_phases_read(tmp_path, steps, batches):
    where = f"results_dir={tmp_path}"
    search = settings_of(["method=ssp", *GRID[1:], where])
    phases = [
        records.Phase(trainable=9, steps=number, best_step=number, stopped_early=False)
        for number in steps
    ]
    timing = {"train_seconds": 120.0, "test_seconds": 6.0}
    write(search, 0, phases=phases, timing=timing)
    earlier = Earlier(str(tmp_path))
    for method, read in (("lora", 1), ("pedro", 2), ("learned_adapter", 3)):
        found = earlier.cost(settings_of([f"method={method}", *GRID[1:], where]))
        expected = read * 120.0 / batches + 6.0
        assert (found.seconds, found.source) == (expected, "records of this task")
    again = earlier.cost(search)
    assert (again.seconds, again.source) == (126.0, "records of this method and task")


def test_levels_that_a_method_is_run_without_are_not_counted(tmp_path):
    two = settings_of(["method=pedro", *GRID[1:], f"results_dir={tmp_path}"])
    write(two, 0, timing={"train_seconds": 80.0, "test_seconds": 6.0})
    earlier = Earlier(str(tmp_path))
    assert earlier.cost(two).seconds == 86.0
    one = replace(two, method=replace(two.method, bilevel="none"))
    found = earlier.cost(one)
    assert (found.seconds, found.source) == (46.0, "records of this task")


def test_records_that_cannot_be_read_are_counted_and_no_more(tmp_path, capsys):
    where = f"results_dir={tmp_path}"
    settings = settings_of([*GRID, where])
    write(settings, 0)
    for name in ("half", "other"):
        place = tmp_path / "runs" / "elsewhere" / f"{name}--seed0.json"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text('{"schema": 1, "key": "12')
    found = planned(capsys, *GRID, where)
    assert [Path(path).name for path in found["unreadable_records"]] == [
        "half--seed0.json",
        "other--seed0.json",
    ]
    assert (found["finished"], found["jobs"][0]["seconds_per_run"]) == (1, 25.0)
    assert plan([*GRID, where]) == 0
    assert "warning: 2 of the records cannot be read" in capsys.readouterr().out


class CountedRuns(list):
    """A list that counts how often all of it was gone through."""

    passes = 0

    def __iter__(self):
        CountedRuns.passes += 1
        return super().__iter__()


def test_a_large_grid_goes_through_the_records_once(tmp_path, monkeypatch):
    settings = settings_of([*GRID, f"results_dir={tmp_path}"])
    write(settings, 0)
    monkeypatch.setattr(plan_module, "read_runs", lambda paths: CountedRuns(read_runs(paths)))
    monkeypatch.setattr(CountedRuns, "passes", 0)
    jobs = [Combination((), replace(settings, suite=f"suite{number}")) for number in range(20)]
    found = look(jobs, ())
    assert {job["seconds_per_run"] for job in found["jobs"]} == {25.0}
    assert CountedRuns.passes == 1


def test_runs_made_with_other_code_are_told(tmp_path, capsys):
    where = f"results_dir={tmp_path}"
    settings = settings_of([*GRID, where])
    write(settings, 0)
    path = grid.plan(settings)[0][1]
    key = path.stem.split("--")[3]
    moved = path.rename(path.with_name(path.name.replace(key, "0" * 12)))
    moved.write_text(moved.read_text().replace(key, "0" * 12))
    found = planned(capsys, *GRID, where)
    assert (found["missing"], found["jobs"][0]["finished_under_other_keys"]) == (5, 1)
    assert plan([*GRID, where]) == 0
    assert (
        "1 of them are finished under other keys, since a component's version, the data, the weights"
        in capsys.readouterr().out
    )
    found = planned(capsys, *GRID, where, "method.r=2")
    assert found["jobs"][0]["finished_under_other_keys"] == 0
    moved.write_text(moved.read_text().replace('"data": "micro"', '"data": "files"'))
    found = planned(capsys, *GRID, where)
    assert found["jobs"][0]["finished_under_other_keys"] == 0, "of another source of data"


def test_runs_of_an_older_task_are_missing_and_told(tmp_path, capsys):
    where = f"results_dir={tmp_path}"
    for seed in range(2):
        write(settings_of([*GRID, where]), seed)
    raised = settings_of([*GRID, where, "task.version=99"])
    write(raised, 0, metrics={"test": {"acc": 1.0}})
    found = planned(capsys, *GRID, where, "task.version=99")
    assert (found["finished"], found["missing"]) == (1, 4)
    assert found["jobs"][0]["finished_under_other_keys"] == 1, "seed 1 of the older version"
    found = planned(capsys, *GRID, where, "task.max_new_tokens=3")
    assert found["jobs"][0]["finished_under_other_keys"] == 0


def test_a_record_older_than_a_setting_counts_with_what_was_in_force_then(tmp_path):
    settings = settings_of([*GRID, f"results_dir={tmp_path}"])
    trainer = dict(settings.resolved_config["trainer"])
    assert (trainer.pop("group_by_length"), trainer.pop("micro_batch_tokens")) == (True, None)
    assert trainer.pop("tried")["tasks"] == ["rte", "copa"]
    write(settings, 0, config={**settings.resolved_config, "trainer": trainer})
    earlier = Earlier(str(tmp_path))
    assert earlier.num_moved(settings, [PlannedRun(0, tmp_path, "missing")]) == 1
    assert earlier.cost(settings).source == "records of this method and task"
    ungrouped = {**settings.resolved_config["trainer"], "group_by_length": False}
    other = replace(settings, resolved_config={**settings.resolved_config, "trainer": ungrouped})
    assert earlier.num_moved(other, [PlannedRun(0, tmp_path, "missing")]) == 0


def test_an_experiment_for_people(tmp_path, capsys):
    arguments = ["-m", "+experiment=micro_table4", "method=pedro", f"results_dir={tmp_path}"]
    assert plan([*arguments, "device=cpu"]) == 0
    shown = capsys.readouterr().out
    assert "10 runs: 0 finished, 10 missing, 0 failed, 0 running." in shown
    assert "Due: 10 runs, one after another in about " in shown
    assert "Estimated from: model (2)." in shown
    assert max(map(len, shown.splitlines())) <= 80
    rows = [line.split()[:3] for line in shown.splitlines() if " pedro " in line]
    assert rows == [["boolq", "pedro", "5"], ["squad", "pedro", "5"]]
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_nobody_holds_is_told_to_be_interrupted(tmp_path, capsys):
    """It was said to run after Ctrl-C."""
    where = f"results_dir={tmp_path}"
    settings = settings_of([*GRID, where])
    write(settings, 0, status="running", metrics={})
    assert plan([*GRID, where]) == 0
    assert "Interrupted: 1 of those running, which no worker holds" in capsys.readouterr().out
    path = grid.plan(settings)[0][1]
    lease = Leases(path.parent, 60).take(path.stem)
    assert plan([*GRID, where]) == 0
    assert "Interrupted" not in capsys.readouterr().out
    write(settings, 1, status="running", metrics={})
    assert plan([*GRID, where]) == 0
    assert "Interrupted: at least 1 of those running" in capsys.readouterr().out
    lease.release(is_done=True)


def test_a_watch_ends_with_the_last_run_and_tells_who_is_at_it(tmp_path, capsys):
    where = f"results_dir={tmp_path}"
    settings = settings_of([*GRID, where])
    for seed in range(4):
        write(settings, seed)
    path = grid.plan(settings)[4][1]
    lease = Leases(path.parent, 60).take(path.stem)
    found = planned(capsys, *GRID, where)
    assert (found["workers"], found["seconds"], found["seconds_left"]) == (1, 25.0, 25.0)
    ending = threading.Timer(0.5, write, (settings, 4))
    ending.start()
    assert plan([*GRID, where, "watch=0.1"]) == 0
    ending.join()
    shown = capsys.readouterr().out
    assert "5 runs: 5 finished, 0 missing, 0 failed, 0 running.\nDue: none." in shown
    assert "Running now: 1 worker; with so many about 0 s are left." in shown
    lease.release(is_done=True)
    assert guarded(plan, [*GRID, where, "watch=1", "output=json"]) == 2
    assert "watch must be 0 with output=json, got 1" in capsys.readouterr().err


def test_a_plan_for_a_gpu_needs_none(tmp_path, capsys, monkeypatch):
    """A cluster's runs are counted on a laptop; only running them there is refused."""
    monkeypatch.setattr(environment, "_is_cpu_build", lambda: True)
    own = ["method=lora", "task=copa", "seeds=[0]", f"results_dir={tmp_path}"]
    on_gpu = settings_of([*own, "device=cuda:1"])
    assert planned(capsys, *own, "device=cuda:1")["missing"] == 1
    assert run_key(on_gpu) != run_key(settings_of([*own, "device=cpu"]))
    with pytest.raises(ConfigError, match="device must be cpu with a CPU build"):
        Grid.planned([((), on_gpu)])
    write(on_gpu, 0)
    assert planned(capsys, *own, "device=cuda:1")["finished"] == 1
    assert not Grid.planned([((), on_gpu)]).configurations[0].due


def test_what_an_experiment_lacks_is_told_here_too(capsys):
    assert guarded(plan, ["+experiment=red_table1", "method=none_such"]) == 2
    assert "error: experiment=red_table1 must name what this version has" in capsys.readouterr().err
    assert guarded(plan, ["--fast"]) == 2
    assert "a flag must be a known one, got '--fast'" in capsys.readouterr().err
    assert guarded(plan, ["--device=cuda"]) == 2
    assert "a setting has no dashes, write device=cuda." in capsys.readouterr().err
    assert guarded(plan, ["lr=1e-3"]) == 2
    assert "got 'lr=1e-3'. Did you mean 'method.lr' or 'trainer.lr'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(5, "5 s"), (90, "1.5 min"), (7200, "2.0 h"), (172800, "2.0 days"), (8.64e9, "100,000 days")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text
