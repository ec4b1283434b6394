"""Exit codes, flags and what stands on which stream; nothing here runs a training."""

import json
import os
import subprocess
import sys

import pytest

import pedro_bench
from pedro_bench.__main__ import main
from pedro_bench.cli.command import guarded
from pedro_bench.cli.run import medians
from tests.unit.analysis.runs import run


def test_bad_input_ends_with_two_and_one_sentence(capsys):
    assert main(["method=pedroo"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: method must be one of the known options, got 'pedroo'.")
    assert err.count("\n") == 1


def test_unknown_flags_are_refused(capsys):
    assert main(["--hepl"]) == 2
    assert "got '--hepl'. Did you mean '--help'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (
            "--method=lora",
            "got '--method=lora': a setting has no dashes, write method=lora. Known:",
        ),
        ("--results-dir", "a setting has no dashes, write results_dir=…. Known:"),
        ("--lr", "A setting has no dashes, as in method=pedro or trainer.lr=1e-3."),
    ],
)
def test_a_setting_typed_as_a_flag_is_shown_as_a_setting(flag, said, capsys):
    assert main([flag, "3"]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("lr=1e-3", "got 'lr'. Did you mean 'method.lr' or 'trainer.lr'? Known: backbone, data,"),
        ("epochs=3", "Did you mean 'trainer.num_epochs'?"),
        ("seed=3", "Did you mean 'seeds' or 'data.seed'?"),
        ("methd=lora", "Did you mean 'method'?"),
    ],
)
def test_a_key_without_its_group_is_found_in_the_groups(argument, said, capsys):
    assert main([argument]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("backbone=gpt2", "is given as backbone=causal_lm backbone.path=…."),
        ("data=/a/folder", "is given as data=files data.root=DIR."),
    ],
)
def test_a_path_in_place_of_an_option_is_told_where_it_goes(argument, said, capsys):
    assert main([argument]) == 2
    assert said in capsys.readouterr().err


def test_a_multirun_of_several_processes_is_refused(tmp_path, capsys, monkeypatch):
    """Each would plan and run the whole grid by itself."""
    monkeypatch.chdir(tmp_path)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    for name, value in (
        ("WORLD_SIZE", "2"),
        ("MASTER_ADDR", "localhost"),
        ("MASTER_PORT", "29500"),
    ):
        monkeypatch.setenv(name, value)
    assert main(["-m", "method=lora,pedro", "task=sst2", "data=micro", "backbone=micro"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: a multirun must be one process, got WORLD_SIZE=2: start one ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "own", "said"),
    [
        ([], {}, "the same command goes on where this one stopped."),
        (["rerun=true"], {}, "with rerun=true the same command begins anew; without it what was"),
        (
            ["rerun=true"],
            {"rerun_goes_on": True},
            "the same command goes on where this one stopped.",
        ),
    ],
)
def test_who_interrupts_a_command_is_told_what_the_same_command_does(arguments, own, said, capsys):
    def body(_):
        raise KeyboardInterrupt

    assert guarded(body, arguments, **own) == 130
    assert capsys.readouterr().err.startswith(f"interrupted: {said}")


def test_help_lists_the_folders(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for group in ("method", "task", "backbone", "data", "trainer", "evaluation", "tracking"):
        assert f"\n  {group} " in text
    assert "pedro_7" in text
    assert "squad" in text


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"{pedro_bench.__version__}\n"


@pytest.mark.parametrize("flags", [["--cfg"], ["--cfg", "job"]])
def test_cfg_prints_the_resolved_configuration(flags, capsys):
    """As Hydra's `--cfg job`."""
    assert main([*flags, "method=lora"]) == 0
    assert '"name": "lora"' in capsys.readouterr().out


def test_cfg_prints_the_configuration_of_each_job_of_a_multirun(capsys):
    assert main(["-m", "--cfg", "job", "method=lora", "method.r=2,4", "task=sst2"]) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [one["overrides"] for one in jobs] == [["method.r=2"], ["method.r=4"]]
    assert [one["config"]["method"]["r"] for one in jobs] == [2, 4]


def test_cfg_of_a_grid_needs_the_flag_of_a_multirun(capsys):
    assert main(["--cfg", "+experiment=micro_table1"]) == 2
    assert "must run as a grid, got a single run" in capsys.readouterr().err
    assert main(["-m", "--cfg", "+experiment=micro_table1", "method=lora", "task=sst2,rte"]) == 0
    jobs = json.loads(capsys.readouterr().out)["jobs"]
    assert [one["config"]["task"]["name"] for one in jobs] == ["sst2", "rte"]


@pytest.mark.parametrize(
    ("place", "message"),
    [("file", "where .* is a file"), ("file/below", "where .* is a file")],
)
def test_a_results_folder_that_cannot_be_is_refused_and_nothing_is_made(
    tmp_path, capsys, place, message
):
    (tmp_path / "file").write_text("in the way")
    code = main([f"results_dir={tmp_path / place}", f"output_dir={tmp_path / 'out'}"])
    assert code == 2
    text = capsys.readouterr().err
    assert "results_dir must be a folder, got" in text
    assert "is a file" in text
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("key", ["results_dir", "output_dir"])
def test_a_folder_that_takes_no_file_is_refused_before_the_run(key, tmp_path, capsys):
    """Root may write in /proc, as far as rights go."""
    folders = {one: tmp_path / one for one in ("results_dir", "output_dir")} | {key: "/proc"}
    assert main([f"{one}={folder}" for one, folder in folders.items()]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {key} must be a folder that can be written, got '/proc': ")
    assert told.endswith(f", choose another with {key}=….\n")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("below", ["runs", "runs/main"])
def test_a_results_dir_that_lies_in_another_is_refused(below, tmp_path, capsys):
    """Its finished runs would not be found, and be made again."""
    results = tmp_path / "results"
    run(results, suite="main")
    assert main([f"results_dir={results / below}", f"output_dir={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err == (
        f"error: results_dir must be the folder that holds runs, got '{results / below}', which lies "
        f"in it: set results_dir={results}.\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("key", "place"),
    [("results_dir", "runs"), ("results_dir", "runs/main"), ("output_dir", "main")],
)
def test_a_file_in_the_place_of_a_suites_folder_is_refused(tmp_path, capsys, key, place):
    file = tmp_path / key / place
    file.parent.mkdir(parents=True)
    file.write_text("in the way")
    folders = [f"{one}={tmp_path / one}" for one in ("results_dir", "output_dir")]
    assert main(folders) == 2
    folder = tmp_path / key
    said = f"error: {key} must be a folder, got '{folder}', where '{file}' is a file.\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize("arguments", [["--help"], ["method=pedroo"], ["-m", "method.r=3,0"]])
def test_answers_come_without_torch_and_leave_nothing(tmp_path, arguments):
    script = (
        "import sys; from pedro_bench.__main__ import main; main(sys.argv[1:]);"
        "print([name for name in sys.modules if name in "
        "('torch', 'transformers', 'datasets', 'accelerate', 'numpy', 'pandas')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert [one.name for one in tmp_path.iterdir()] == []


def test_an_interrupt_has_its_own_code(capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    assert guarded(interrupted, []) == 130
    assert "goes on where this one stopped" in capsys.readouterr().err


def test_a_programming_error_is_not_hidden():
    def broken(arguments):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        guarded(broken, [])


def test_medians_are_of_the_metrics_that_every_seed_has():
    assert medians([{"f1": 1.0, "em": 5.0}, {"f1": 2.0}]) == {"f1": 1.5}
    assert medians([]) == {}
