"""Ratios of the benchmarks, from rows and records made by hand."""

import json
import os
import statistics
import sys
from pathlib import Path

import pytest

from pedro_bench import records
from pedro_bench.records import RunRecord


def write_record(
    root: Path, method: str, repeat: int, speed: float, system: dict | None = None
) -> str:
    record = RunRecord(
        key="0" * 12,
        status="finished",
        method=method,
        task="generate_beam1",
        backbone="tiny",
        data="paper_lengths",
        suite="table3",
        seed=repeat,
        config={"system": system or {}},
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


def row(method: str, *speeds: float, **fields: object) -> dict:
    """A row as `cli.efficiency` gives it, one speed for each repeat."""
    by_repeat = {str(repeat): speed for repeat, speed in enumerate(speeds)}
    return {
        "method": method,
        "decoding": "plain",
        "beams": 1,
        "sequences": 1,
        "tenants": 1,
        "mixed": False,
        "merged": False,
        "tokens_per_second": statistics.median(speeds),
        "bandwidth_share": statistics.median(speeds) / 100,
        "speeds": by_repeat,
        "processor_seconds": {repeat: 1 / speed for repeat, speed in by_repeat.items()},
        **fields,
    }


def test_a_ratio_is_of_the_rows_with_its_settings(load_script):
    script = load_script("benchmark_generation")
    rows = [
        row("none", 10.0, 10.0, 20.0, 20.0, 40.0),
        row("lora", 40.0, 40.0, 40.0, 40.0, 40.0, merged=True),
        row("pedro", 9.0, 9.0, 20.0, 20.0, 20.0),
        row("pedro", 30.0, 30.0, 30.0, 30.0, 30.0, sequences=4),
        row("pedro", 15.0, 15.0, 15.0, 15.0, 30.0, sequences=4, tenants=4, mixed=True),
    ]
    made = script.ratios(rows, [1], 4)
    assert set(made) == {
        "pedro / bare, beams 1, plain",
        "pedro: 4 tenants / one tenant, beams 1, plain",
    }, "a merged LoRA is not the unmerged one that PEDRO stands against"
    to_bare = made["pedro / bare, beams 1, plain"]
    assert to_bare.pop("interval") is None
    expected = {"ratio": 0.9, "lowest": 0.5, "highest": 1.0, "pairs": 3, "of_processor_time": 0.9}
    assert to_bare == pytest.approx(expected)
    assert made["pedro: 4 tenants / one tenant, beams 1, plain"]["ratio"] == pytest.approx(0.5)


def test_the_headline_takes_mixed_rows_from_the_part_on_tenants(load_script):
    script = load_script("benchmark_gpu")
    than = {"speed": 1.6, "lowest": 1.5, "highest": 1.7, "memory": 0.6}
    found = {
        "table3": {"rows": [row("lora", 20.0, 20.0, 9.0), row("pedro", 30.0, 30.0, 18.0)]},
        "compiled": {"rows": [row("none", 80.0), row("pedro", 60.0)]},
        "tenants": {
            "rows": [
                row("pedro", 1.0, sequences=64),
                row("pedro", 600.0, tenants=64, mixed=True),
                row("peft_lora", 200.0, tenants=64, mixed=True),
            ]
        },
        "training": {"trained": {"lora, peer": {"against": {}}, "lora": {"against": {"p": than}}}},
    }
    expected = {
        "pedro / lora, beams 1": 1.75,  # that of the medians is 1.5
        "compiled pedro / compiled bare": 0.75,
        "compiled pedro, share of the bandwidth limit": 0.6,
        "pedro / peft's lora, 64 tenants": 3.0,
        "training, lora / p: speed": 1.6,
        "training, lora / p: memory": 0.6,
    }
    assert script.headline(found) == pytest.approx(expected)
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


@pytest.mark.parametrize(("visible", "first"), [(None, "0"), ("2,3", "2"), ("", "")])
def test_a_part_sees_one_gpu(visible, first, load_script, monkeypatch):
    script = load_script("benchmark_gpu")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    code = "import json, os; print(json.dumps({'seen': os.environ['CUDA_VISIBLE_DEVICES']}))"
    assert script.run([sys.executable, "-c", code], 60) == {"seen": first}
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def test_every_part_of_the_gpu_script_is_a_command_that_is_there(load_script):
    script = load_script("benchmark_gpu")
    made = script.parts("results", script.BACKBONE)
    assert list(made) == ["table3", "tenants", "training", "compiled"], "the slowest to start last"
    assert list(script.LIMITS) == list(made)
    assert sum(script.LIMITS.values()) == script.SECONDS < 9 * 60
    assert all(limit > 0 for limit in script.LIMITS.values())
    assert "repeats=1" in made["tenants"]
    assert made["training"][2:6] == ["--repeats", "2", "--steps", "12"], "eleven have a rate"
    assert made["training"][6:8] == ["--out", "results/gpu_training.json"]
    assert "suite=table3" in made["table3"], "one run leaves the paper's table"
    assert sum("suite=table3" in command for command in made.values()) == 1
    small = script.parts("results", ("backbone=micro",), small=True)
    assert not any("suite=table3" in command for command in small.values())
    assert "decoding=[compiled]" in made["compiled"]
    assert Path(made["training"][1]).is_file()
    assert "device=cuda" in made["table3"]


def test_what_a_stopped_part_had_finished_is_in_the_result(load_script, tmp_path, monkeypatch):
    script = load_script("benchmark_gpu")
    allowed = {}
    trained = {"trained": {"lora": {"against": {"peer": {"speed": 2.0, "memory": 0.5}}}}}

    def run(command: list[str], seconds: float) -> dict:
        name = command[0]
        allowed[name] = round(seconds)
        written = json.loads(out.read_text()) if out.exists() else {}
        assert set(written) == set(list(script.LIMITS)[: len(allowed) - 1]) | (
            {"ratios"} if len(allowed) > 1 else set()
        ), "the file is written after every part"
        if name == "training":
            assert not left.exists(), "an earlier run's is no result of this one"
            left.write_text(json.dumps(trained))
            return {"stopped": "it took longer"}
        if name != "table3":
            return {"rows": []}
        system = {"beams": 1, "sequences": 1, "tenants": 1, "mixed": False}
        for method, speed in (("lora", 20.0), ("pedro", 25.0)):
            write_record(tmp_path, method, 0, speed, system)
        return {"stopped": "it took longer"}

    out, left = tmp_path / "gpu.json", script.training_file(str(tmp_path))
    left.write_text(json.dumps({"trained": {"old": {}}}))
    monkeypatch.setattr(script, "run", run)
    monkeypatch.setattr(script, "now", lambda: "2026-01-01T00:00:00+00:00")
    commands = {name: [name, "suite=table3"] for name in script.LIMITS}
    found = script.run_all(commands, str(tmp_path), out, script.SECONDS)
    assert allowed["table3"] == script.LIMITS["table3"]
    assert allowed["compiled"] == script.SECONDS, "what is left over goes to those after it"
    assert found["table3"]["stopped"] == found["training"]["stopped"] == "it took longer"
    assert found["ratios"] == {
        "pedro / lora, beams 1": 1.25,
        "training, lora / peer: speed": 2.0,
        "training, lora / peer: memory": 0.5,
    }
    assert json.loads(out.read_text()) == found


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
        *(
            f"training, {own} / {peer}: {what}"
            for own in ("lora", "pedro")
            for peer in ("lora, peer", "lora, peer by length")
            for what in ("speed", "memory")
        ),
    }
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert not any("stopped" in part for part in found.values())
    trained = found["training"]["trained"]
    assert set(trained) == {"lora, peer", "lora, peer by length", "lora", "pedro"}
    assert json.loads((tmp_path / "gpu_training.json").read_text()) == found["training"]
