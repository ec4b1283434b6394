"""Ratios of the benchmarks, from rows and records made by hand."""

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pedro_bench import records
from pedro_bench.records import RunRecord

SCRIPTS = Path(__file__).resolve().parents[3] / "scripts"


@pytest.fixture
def load_script(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))

    def load(name: str) -> ModuleType:
        sys.modules.pop(name, None)
        return __import__(name)

    return load


def write_record(
    root: Path, method: str, repeat: int, speed: float, contestant: dict | None = None
) -> str:
    record = RunRecord(
        key="0" * 12,
        status="finished",
        method=method,
        task="generate_beam1",
        backbone="tiny",
        data="paper_lengths",
        suite="efficiency",
        seed=repeat,
        config={"contestant": contestant or {}},
        main_metric="tokens_per_second",
        metrics={"test": {"tokens_per_second": speed}},
        timing={
            "processor_seconds": 1 / speed,
            "first_token_seconds": 0.1,
            "step_seconds": 1 / speed,
            "bandwidth_share": speed / 100,
        },
        memory={"peak_bytes": 1000},
        started="2026-01-01T00:00:00+00:00",
    )
    return str(records.write(record, root))


def test_a_ratio_is_the_median_of_the_ratios_within_repeats(load_script, tmp_path):
    script = load_script("benchmark_generation")
    speeds = {"none": (10.0, 20.0, 40.0), "pedro": (9.0, 20.0, 20.0)}
    rows = [
        {
            "method": name,
            "decoding": "plain",
            "beams": 1,
            "sequences": 1,
            "tenants": 1,
            "mixed": False,
            "repeats": 3,
        }
        for name in speeds
    ]
    paths = [
        write_record(tmp_path, name, repeat, speed)
        for name, own in speeds.items()
        for repeat, speed in enumerate(own)
    ]
    found = {"rows": rows, "records": paths}
    made = script.ratio(found, {"method": "pedro"}, {"method": "none"})
    expected = {"ratio": 0.9, "lowest": 0.5, "highest": 1.0, "of_processor_time": 0.9}
    assert made == pytest.approx(expected)
    assert script.ratios(found, [1], 4) == {"pedro / bare, beams 1, plain": made}


def test_a_row_that_memory_ended_early_is_compared_where_it_is_there(load_script, tmp_path):
    script = load_script("benchmark_generation")
    rows = [{"method": "none", "repeats": 2}, {"method": "lora", "repeats": 1}]
    paths = [
        write_record(tmp_path, "none", 0, 10.0),
        write_record(tmp_path, "none", 1, 40.0),
        write_record(tmp_path, "lora", 1, 20.0),
    ]
    found = {"rows": rows, "records": paths}
    assert script.ratio(found, {"method": "lora"}, {"method": "none"})["ratio"] == 0.5


def test_the_headline_takes_mixed_rows_from_the_part_on_tenants(load_script):
    script = load_script("benchmark_gpu")

    def row(method: str, speed: float, *, tenants: int = 1, mixed: bool = False) -> dict:
        return {
            "method": method,
            "beams": 1,
            "tenants": tenants,
            "mixed": mixed,
            "tokens_per_second": speed,
            "bandwidth_share": speed / 100,
        }

    found = {
        "table3": {"rows": [row("lora", 20.0), row("pedro", 30.0)]},
        "compiled": {"rows": [row("none", 80.0), row("pedro", 60.0)]},
        "tenants": {
            "rows": [
                row("pedro", 1.0),
                row("pedro", 600.0, tenants=64, mixed=True),
                row("peft_lora", 200.0, tenants=64, mixed=True),
            ]
        },
    }
    assert script.headline(found) == {
        "pedro / lora, beams 1": 1.5,
        "compiled pedro / compiled bare": 0.75,
        "compiled pedro, share of the bandwidth limit": 0.6,
        "pedro / peft's lora, 64 tenants": 3.0,
    }
    assert script.headline({"table3": {"stopped": "…"}, "tenants": {"stopped": "…"}}) == {}


def test_a_part_that_takes_too_long_is_stopped_and_named(load_script):
    script = load_script("benchmark_gpu")
    sleeping = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert "longer than the 0 seconds" in script.run(sleeping, 0.2)["stopped"]
    assert script.run(sleeping, 0) == {"stopped": "no time was left"}
    failing = [sys.executable, "-c", "raise SystemExit(3)"]
    assert script.run(failing, 60) == {"stopped": "it ended with exit code 3"}
    printing = [sys.executable, "-c", f"print({json.dumps(json.dumps({'rows': []}))})"]
    assert script.run(printing, 60) == {"rows": []}


def test_every_part_of_the_gpu_script_is_a_command_that_is_there(load_script):
    script = load_script("benchmark_gpu")
    made = script.parts("results", script.BACKBONE)
    assert list(made) == ["table3", "tenants", "training", "compiled"], "the slowest to start last"
    assert list(script.LIMITS) == list(made)
    assert sum(script.LIMITS.values()) == script.SECONDS < 9 * 60
    assert all(limit > 0 for limit in script.LIMITS.values())
    assert "repeats=1" in made["tenants"]
    assert made["training"][2:6] == ["--repeats", "2", "--steps", "20"]
    assert "decoding=[compiled]" in made["compiled"]
    assert Path(made["training"][1]).is_file()
    assert "device=cuda" in made["table3"]


def test_what_a_stopped_part_had_finished_is_in_the_result(load_script, tmp_path, monkeypatch):
    script = load_script("benchmark_gpu")
    allowed = {}

    def run(command: list[str], seconds: float) -> dict:
        name = command[0]
        allowed[name] = round(seconds)
        written = json.loads(out.read_text()) if out.exists() else {}
        assert set(written) == set(list(script.LIMITS)[: len(allowed) - 1]) | (
            {"ratios"} if len(allowed) > 1 else set()
        ), "the file is written after every part"
        if name != "table3":
            return {"rows": []}
        contestant = {"beams": 1, "sequences": 1, "tenants": 1, "mixed": False}
        for method, speed in (("lora", 20.0), ("pedro", 25.0)):
            write_record(tmp_path, method, 0, speed, contestant)
        return {"stopped": "it took longer"}

    out = tmp_path / "gpu.json"
    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "now", lambda: "2026-01-01T00:00:00+00:00")
    commands = {name: [name] for name in script.LIMITS}
    found = script.run_all(commands, str(tmp_path), out, script.SECONDS)
    assert allowed["table3"] == script.LIMITS["table3"]
    assert allowed["compiled"] == script.SECONDS, "what is left over goes to those after it"
    assert found["table3"]["stopped"] == "it took longer"
    assert found["ratios"] == {"pedro / lora, beams 1": 1.25}
    assert json.loads(out.read_text()) == found


def test_steps_alone_are_timed_on_both_sides(load_script, load_tiny, monkeypatch):
    """A clock that moves by 1 in a step and by 1000 in all that is none."""
    from transformers import Trainer

    from pedro_bench.protocols.batch import Encoded
    from pedro_bench.training.loop import TrainingLoop
    from tests.tiny import build_method

    script = load_script("benchmark_training")
    time = [0.0]
    monkeypatch.setattr(script.meter, "now", lambda _: time[0])

    def taking(seconds: float, owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def slower(*given, **options):
            time[0] += seconds
            return plain(*given, **options)

        monkeypatch.setattr(owner, name, slower)

    for owner, names in (
        (TrainingLoop, ("__init__", "_start", "_evaluate", "_save", "_result")),
        (Trainer, ("_inner_training_loop", "_finalize_training")),
    ):
        for name in names:
            taking(1000, owner, name)
    taking(1, TrainingLoop, "_step")
    taking(1, Trainer, "training_step")
    rows = [Encoded((4, 5, 6 + index), (7, 2), index) for index in range(6)]
    backbone = load_tiny()
    for side in (script.theirs, script.ours):
        measured = side(backbone, build_method("lora"), rows, 2)
        assert measured.seconds == 2, "three steps; the first began before its forward pass"
        assert measured.peak_bytes > 0
        assert measured.loss > 0


def test_a_measure_is_compared_within_its_repeat(load_script):
    script = load_script("benchmark_training_gains")
    seconds = {"all measures": [1.0, 2.0], "causal kernel": [1.5, 2.0]}
    made = script.ratios(seconds, lambda one, other: one / other)
    assert made["causal kernel"] == {"ratio": 1.25, "lowest": 1.0, "highest": 1.5}
    assert made["all measures"]["ratio"] == 1.0


def test_finished_keys_are_all_found_again(load_script):
    found = load_script("benchmark_overhead").skip(3)
    assert found["keys"] == 3
    assert found["processor_seconds"] > 0


def test_finished_keys_of_a_grid_are_all_found_again(load_script):
    found = load_script("benchmark_overhead").skip_grid(10)
    assert (found["keys"], found["configurations"]) == (10, 2)
    assert found["processor_seconds"] > 0


@pytest.mark.slow
def test_the_gpu_script_runs_to_its_end_on_a_cpu(load_script, tmp_path, monkeypatch, capsys):
    script = load_script("benchmark_gpu")
    places = [f"--results={tmp_path}", f"--out={tmp_path / 'gpu.json'}"]
    backbone = ["backbone=micro", "device=cpu"]
    monkeypatch.setattr(sys, "argv", ["benchmark_gpu.py", "--small", *places, *backbone])
    script.main()
    assert set(json.loads(capsys.readouterr().out)) == {
        "pedro / lora, beams 1",
        "pedro / lora, beams 3",
        "compiled pedro / compiled bare",
        "compiled pedro, share of the bandwidth limit",
        "pedro / peft's lora, 2 tenants",
        "lora / peft's lora, 2 tenants",
    }
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not any("stopped" in part for part in found.values())
    assert set(found["training"]["trained"]) == {"lora, peer", "lora", "pedro"}
