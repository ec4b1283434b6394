import errno
import json
from pathlib import Path

import pytest

from pedro_bench.cli.command import guarded
from pedro_bench.cli.figures import figures
from pedro_bench.cli.tables import tables
from pedro_bench.errors import ConfigError
from tests.unit.analysis.runs import five, run


def test_three_files_for_each_panel_with_the_same_bytes_again(tmp_path, capsys):
    five(tmp_path)
    run(tmp_path, task="sst2", suite="other")
    assert tables([f"results_dir={tmp_path}", "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = ["main--micro--micro", "other--micro--micro"]
    endings = (".tex", ".md", ".csv")
    expected = [str(tmp_path / "tables" / f"{name}{end}") for name in names for end in endings]
    expected.append(str(tmp_path / "tables" / "report.html"))
    assert found == {"tables": expected, "missing": {name: [] for name in names}}
    shown = (tmp_path / "tables" / "report.html").read_text()
    assert shown.count("results_dir=anew") == 2
    before = [path.read_bytes() for path in sorted((tmp_path / "tables").iterdir())]
    assert tables([f"results_dir={tmp_path}", f"tables_dir={tmp_path / 'again'}"]) == 0
    assert [path.read_bytes() for path in sorted((tmp_path / "again").iterdir())] == before


def test_one_suite(tmp_path, capsys):
    five(tmp_path)
    run(tmp_path, suite="other")
    assert tables([f"results_dir={tmp_path}", "suite=other", "output=json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["missing"]) == ["other--micro--micro"]


@pytest.mark.parametrize(
    ("chosen", "sentence"),
    [
        ("suite=[main,othr]", "results_dir must hold records of suite othr, got none in"),
        ("table=[main,othr]", "results_dir must hold records of suite othr, got none in"),
        ("suite=mian", "runs'. Did you mean 'main'? Known: main, micro_red_table4."),
        ("table=micro_table1", "runs': make one with python -m pedro_bench -m +experiment=micro_t"),
        ("table=micro_red_table18", "table must be one that records fill, got 'micro_red_table18'"),
        (
            "table=[micro_red_table4,micro_red_table18]",
            "no run of suite micro_red_table4 was evaluated for it",
        ),
    ],
)
@pytest.mark.parametrize("command", [tables, figures])
def test_what_is_asked_for_and_not_there_is_bad_input(command, chosen, sentence, tmp_path, capsys):
    """Else a page without it, or an empty one, would replace a whole one."""
    run(tmp_path)
    run(tmp_path, "red", "ultrafeedback", suite="micro_red_table4")
    assert guarded(command, [f"results_dir={tmp_path}", chosen]) == 2
    assert sentence in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]


@pytest.mark.parametrize("command", [tables, figures])
@pytest.mark.parametrize("given", ["results/runs", "results/runs/main", "."])
@pytest.mark.parametrize("chosen", [[], ["suite=main"], ["table=micro_table1"]])
def test_a_folder_above_or_below_the_records_is_answered_with_theirs(
    chosen, given, command, tmp_path, capsys, monkeypatch
):
    run(tmp_path / "results", suite="main")
    monkeypatch.chdir(tmp_path)
    assert guarded(command, [f"results_dir={given}", *chosen]) == 2
    assert "'. Did you mean 'results', which holds records?\n" in capsys.readouterr().err


@pytest.mark.parametrize("command", [tables, figures])
def test_a_folder_that_no_suite_can_have_is_named(command, tmp_path, capsys):
    path = run(tmp_path, suite="main")
    copy = path.parent.parent / "main (copy)"
    path.parent.rename(copy)
    assert guarded(command, [f"results_dir={tmp_path}"]) == 2
    assert capsys.readouterr().err == (
        f"error: folder {copy} must have the name of its records' suite, 'main', got 'main (copy)': "
        f"rename it, or move it out of {tmp_path / 'runs'}.\n"
    )
    assert [one.name for one in tmp_path.iterdir()] == ["runs"]


@pytest.mark.parametrize(("command", "key"), [(tables, "tables_dir"), (figures, "figures_dir")])
def test_a_folder_that_takes_no_file_is_named_by_its_key(
    command, key, tmp_path, capsys, monkeypatch
):
    run(tmp_path, history=[{"step": 1, "dev_loss": 1.0}])
    own = [f"results_dir={tmp_path}"]
    assert guarded(command, [*own, f"{key}=/proc"]) == 2
    assert f"error: {key} must be a folder that can be written, got '/proc': " in (
        capsys.readouterr().err
    )

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    assert guarded(command, [*own, f"{key}={tmp_path / 'full'}"]) == 2
    assert capsys.readouterr().err.endswith(
        f"got No space left on device: free some space or choose another folder with {key}=….\n"
    )
    assert not list((tmp_path / "full").iterdir())


@pytest.mark.parametrize("command", [tables, figures])
def test_a_record_puts_no_table_into_another_folder(command, tmp_path, capsys):
    path = run(tmp_path / "results", history=[{"step": 1, "dev_loss": 1.0}])
    path.write_text(path.read_text().replace('"data": "micro"', '"data": "/../../../x"'))
    assert guarded(command, [f"results_dir={tmp_path / 'results'}"]) == 2
    assert "data.name must be a name of letters" in capsys.readouterr().err
    assert [one.name for one in tmp_path.iterdir()] == ["results"]


def test_trials_of_a_search_have_a_table_only_where_it_is_asked_for(tmp_path, capsys):
    five(tmp_path)
    run(tmp_path, suite="tune_mine")
    assert tables([f"results_dir={tmp_path}", "output=json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["missing"]) == ["main--micro--micro"]
    assert tables([f"results_dir={tmp_path}", "suite=tune_mine", "output=json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["missing"]) == ["tune_mine--micro--micro"]


def test_no_records_is_bad_input_and_nothing_is_written(tmp_path, capsys):
    assert guarded(tables, [f"results_dir={tmp_path / 'none'}"]) == 2
    assert "results_dir must hold records, got none in" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert guarded(tables, ["suit=main"]) == 2
    assert "suit must be a known key, got 'suit=main'. Did you mean 'suite'" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite=[]"], "suite must name one at least, got \\[\\]: leave it out for all"),
        (["table=[]"], "table must name one at least"),
        (["results_dir=null"], "results_dir must be a text, not empty, got None"),
        (["results_dir=a,b"], r"results_dir must be a text, not empty, got \['a', 'b'\]"),
    ],
)
def test_what_names_no_suite_or_folder_is_refused(tmp_path, words, message):
    """An empty list stood for all suites, and null for a folder named None."""
    five(tmp_path)
    with pytest.raises(ConfigError, match=message):
        tables([f"results_dir={tmp_path}", *words])
    assert not (tmp_path / "tables").exists()


def test_costs_are_true_or_false(tmp_path, capsys):
    run(tmp_path, timing={"train_seconds": 10.0})
    assert guarded(tables, [f"results_dir={tmp_path}", "costs=yes"]) == 2
    assert "costs must be true or false, got 'yes'." in capsys.readouterr().err
    assert not (tmp_path / "tables").exists()
    assert tables([f"results_dir={tmp_path}", "costs=true"]) == 0
    assert "What a run costs" in capsys.readouterr().out
    assert "train_seconds" in (tmp_path / "tables" / "main--micro--micro.csv").read_text()
