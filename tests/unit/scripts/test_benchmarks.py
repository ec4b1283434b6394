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


def write_record(root: Path, method: str, repeat: int, speed: float) -> str:
    record = RunRecord(
        key="0" * 12,
        status="finished",
        method=method,
        task="generate_beam1",
        backbone="tiny",
        data="paper_lengths",
        suite="efficiency",
        seed=repeat,
        config={},
        main_metric="tokens_per_second",
        metrics={"test": {"tokens_per_second": speed}},
        timing={"processor_seconds": 1 / speed},
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
    assert list(made) == ["table3", "compiled", "training", "tenants"]
    assert "decoding=[compiled]" in made["compiled"]
    assert Path(made["training"][1]).is_file()
    assert "device=cuda" in made["table3"]


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
