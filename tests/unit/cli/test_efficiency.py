"""The command that makes Table 3: rows as JSON, and what is refused before torch is imported."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.cli import efficiency as command_module
from pedro_bench.cli.command import BAD_INPUT, DONE, guarded
from pedro_bench.cli.efficiency import efficiency
from pedro_bench.cli.hydra.compose import configuration_of
from pedro_bench.efficiency.request import DEFAULTS, request_of

SMALL = [
    "backbone=causal_lm",
    "data=micro",
    "trainer=micro",
    "repeats=1",
    "prompts=2",
    "new_tokens=3",
    "prompt_tokens=6",
]


def command(folder: Path, results: Path, *arguments: str) -> list[str]:
    return [*SMALL, f"backbone.path={folder}", f"results_dir={results}", *arguments]


@pytest.mark.parametrize("lengths", ["paper", "task"])
def test_rows_as_json(
    lengths: str, tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    arguments = command(
        tiny_folders["llama"],
        tmp_path,
        "methods=[none,pedro]",
        "beams=[1,2]",
        "method.r=3",
        "task=boolq",
        f"lengths={lengths}",
        "output=json",
    )
    assert guarded(efficiency, arguments) == DONE
    found = json.loads(capsys.readouterr().out)
    rows = found["rows"]
    assert [(row["method"], row["beams"], row["tenants"]) for row in rows] == [
        ("none", 1, 1),
        ("pedro", 1, 1),
        ("none", 2, 1),
        ("pedro", 2, 1),
    ]
    assert all(row["tokens_per_second"] > 0 and row["peak_bytes"] > 0 for row in rows)
    assert all(Path(path).is_file() for path in found["records"])


def test_a_table_for_people(tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    arguments = command(tiny_folders["llama"], tmp_path, "methods=none", "beams=1")
    assert guarded(efficiency, arguments) == DONE
    out = capsys.readouterr().out
    assert "tokens/s" in out
    assert "none" in out


def test_a_merged_lora_stands_beside_the_other(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    arguments = command(tiny_folders["llama"], tmp_path, "methods=lora", "beams=1", "merged=true")
    assert guarded(efficiency, arguments) == DONE
    shown = [
        line.split("│")[1].strip() for line in capsys.readouterr().out.splitlines() if "│" in line
    ]
    assert shown == ["lora", "lora (merged)"]


def test_what_was_measured_before_is_said_to_be_read(
    tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    arguments = command(tiny_folders["llama"], tmp_path, "methods=none", "beams=1", "output=json")
    assert guarded(efficiency, arguments) == DONE
    first = json.loads(capsys.readouterr().out)
    assert guarded(efficiency, arguments) == DONE
    again = capsys.readouterr()
    assert json.loads(again.out) == first
    told = f"read from records of {first['started']} on {first['device']}; rerun=true measures anew"
    assert told in again.err
    assert guarded(efficiency, [*arguments, "rerun=true"]) == DONE
    assert "read from records" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "change",
    ["trainer.max_length=100", "task.prompt='{question} {passage}'", "task=rte"],
)
def test_all_that_decides_a_tasks_prompts_is_in_the_key(change: str) -> None:
    request = request_of({**DEFAULTS, "lengths": "task"})
    plain = ["data=micro", "task=boolq", "backbone=micro"]
    _, before = command_module._workload(request, configuration_of(plain))
    _, after = command_module._workload(request, configuration_of([*plain, change]))
    assert before != after


def test_which_rows_are_the_test_split_is_in_the_key(tmp_path: Path) -> None:
    (tmp_path / "boolq").mkdir()
    (tmp_path / "boolq" / "train.jsonl").write_text("{}\n")
    request = request_of({**DEFAULTS, "lengths": "task"})
    plain = ["data=files", f"data.root={tmp_path}", "task=boolq", "backbone=micro"]
    some, others = (
        command_module._workload(request, configuration_of([*plain, f"data.holdout={share}"]))[1]
        for share in (0.2, 0.3)
    )
    assert some["fingerprint"] == others["fingerprint"]
    assert some != others


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        (
            "methods=[pedr]",
            "method must be one of the known options, got 'pedr'. Did you mean 'pedro'?",
        ),
        ("method=lora", "methods must name what is compared, got 'method=lora'"),
        ("beams=[0]", "beams must be a whole number of at least 1, got 0"),
        (
            "methods=[none,pedro] merged=true",
            "merged must be false where no method's update can be added to the backbone's weights, got "
            "true with methods ['none', 'pedro']: add lora or adalora.",
        ),
        ("warmup=0", "warmup must be a whole number of at least 1, got 0"),
        ("output=xml", "output must be text or json, got 'xml'"),
        ("device=gpu", "device must be auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
)
def test_bad_input_is_told_in_one_sentence(
    argument: str, sentence: str, tiny_folders: dict[str, Path], tmp_path: Path, capsys: Any
) -> None:
    arguments = command(tiny_folders["llama"], tmp_path / "results", *argument.split())
    assert guarded(efficiency, arguments) == BAD_INPUT
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_bad_input_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "from pedro_bench.cli.command import guarded\n"
        "from pedro_bench.cli.efficiency import efficiency\n"
        "assert guarded(efficiency, ['methods=[pedr]']) == 2\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
