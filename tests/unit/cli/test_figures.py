import json

from pedro_bench.analysis.activations import Activations, Coefficients, write_activations
from pedro_bench.cli.command import guarded
from pedro_bench.cli.figures import figures
from pedro_bench.cli.pack import pack
from tests.unit.analysis.runs import run

RATIONAL = {"name": "pedro", "label": "PEDRO", "activation": "rational"}


def with_activations(results_dir, **changes):
    """Write one record of a run that learned its activations, and these beside it."""
    record = run(results_dir, config={"method": RATIONAL}, **changes)
    learned = Coefficients((0.0, 0.5, *[0.0] * 5), (0.0,) * 5)
    write_activations(record, Activations(learned, {1: learned, 2: learned}))
    return record


def test_curves_budgets_and_activations_with_the_same_data_again(tmp_path, capsys):
    for r in (3, 6):
        history = [{"step": 1, "dev_loss": 2.0}]
        run(tmp_path, "lora", r=r, parameters={"matrices": r}, history=history)
    with_activations(tmp_path)
    assert figures([f"results_dir={tmp_path}", "output=json"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [f"main--micro--micro--{what}" for what in ("curves", "budgets", "activations")]
    written = [
        str(tmp_path / "figures" / f"{name}.{end}")
        for name in names
        for end in ("pdf", "png", "csv")
    ][:-1]
    assert found == {"figures": written, "without_activations": []}
    assert figures([f"results_dir={tmp_path}", f"figures_dir={tmp_path / 'again'}"]) == 0
    for name in (f"{names[0]}.csv", f"{names[1]}.csv"):
        made = (tmp_path / "figures" / name).read_text()
        assert (tmp_path / "again" / name).read_text() == made
    curves, budgets = ((tmp_path / "figures" / f"{name}.csv").read_text() for name in names[:2])
    assert "BoolQ,lora [r=3],,1,2\nBoolQ,lora [r=3],0,1,2\n" in curves
    assert "boolq,acc,lora [r=6],6,80,80,80\n" in budgets


def test_an_adapter_that_is_gone_is_said(tmp_path, capsys):
    config = {"method": RATIONAL, "output_dir": str(tmp_path / "outputs")}
    record = run(tmp_path, config=config)
    assert figures([f"results_dir={tmp_path}", "output=json"]) == 0
    (reason,) = json.loads(capsys.readouterr().out)["without_activations"]
    assert "main, micro, micro: a run must have its working folder" in reason
    assert guarded(figures, [f"run={record}", f"figures_dir={tmp_path}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_one_run_packed_or_not(tmp_path, capsys):
    with_activations(tmp_path, seed=0)
    record = with_activations(tmp_path, seed=3)
    for name in ("f", "g"):
        assert figures([f"run={record}", f"figures_dir={tmp_path / name}", "output=json"]) == 0
        written = json.loads(capsys.readouterr().out)["figures"]
        assert [path.rpartition(".")[2] for path in written] == ["pdf", "png"]
        if name == "f":
            assert pack([f"results_dir={tmp_path}", "suite=main"]) == 0
            assert not record.exists()
            capsys.readouterr()


def test_a_measurement_of_speed_has_no_activations(tmp_path, capsys):
    """Its record names a method and has no adapter."""
    record = run(tmp_path, config={"method": RATIONAL, "efficiency": {"repeats": 1}})
    assert figures([f"results_dir={tmp_path}", "output=json"]) == 0
    assert json.loads(capsys.readouterr().out)["without_activations"] == []
    assert guarded(figures, [f"run={record}", f"figures_dir={tmp_path}"]) == 2
    assert "must be that of a finished run, got a measurement of speed" in capsys.readouterr().err


def test_bad_input_is_one_sentence_and_nothing_is_written(tmp_path, capsys):
    failed = run(tmp_path, status="failed", error="boom.", metrics={})
    for arguments, sentence in (
        (["figure_dir=x"], "figure_dir must be a known key, got 'figure_dir=x'."),
        ([f"results_dir={tmp_path / 'none'}"], "results_dir must hold records, got none in"),
        (
            [f"run={tmp_path / 'no.json'}"],
            "no.json must be that of a finished run, got none there: records are",
        ),
        (
            [f"run={failed}"],
            f"{failed} must be that of a finished run, got status 'failed': give its command again.",
        ),
    ):
        assert guarded(figures, [*arguments, f"figures_dir={tmp_path / 'f'}"]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
    assert not (tmp_path / "f").exists()
