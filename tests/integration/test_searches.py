"""A method that searches: trained in two phases by the experiment, recorded, saved and loaded again."""

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from pedro_bench import records
from pedro_bench.cli.compose import settings_of
from pedro_bench.experiment import load, run
from pedro_bench.protocols.settings import build_group
from tests.tiny import METHOD_NAMES, build_method

SEARCHES = [name for name in METHOD_NAMES if build_method(name).counts_last_phase]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    for name, count in (("train", 30), ("validation", 12)):
        rows = [
            {"sentence": f"a {'good' if i % 2 else 'bad'} film {i}", "label": i % 2}
            for i in range(count)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.parent


def only_record(name: str, data: Path, tiny_folders: dict[str, Path], **more: Any) -> Path:
    """Train two steps a phase; return the path of the record."""
    overrides = [
        f"method={name}",
        "task=sst2",
        "data=files",
        f"data.root={data}",
        "backbone=causal_lm",
        f"backbone.path={tiny_folders['llama']}",
        "trainer.lr=0.01",
        "trainer.max_steps=3",
        "trainer.eval_every_steps=1",
        "seeds=[0]",
        f"results_dir={data.parent / 'results'}",
        f"output_dir={data.parent / 'outputs'}",
    ]
    overrides += [f"{key}={value}" for key, value in more.items()]
    (record,) = run(settings_of(overrides))
    assert record["status"] == "finished", record["error"]
    (path,) = (data.parent / "results" / "runs").rglob(f"*{record['key']}--seed0.json")
    return path


@pytest.mark.parametrize("name", SEARCHES)
def test_what_the_search_found_is_retrained_recorded_and_loaded(
    name: str, data: Path, tiny_folders: dict[str, Path]
) -> None:
    path = only_record(name, data, tiny_folders)
    record = records.read(path)
    folder = data.parent / "outputs" / record.suite / path.stem
    saved = load(path)
    found = saved.adapted.method
    assert found.structure is not None and record.config["method"]["structure"] is None
    assert found.following(saved.adapted.adapter) is None
    trained = load_file(folder / "adapter" / "adapter.safetensors")
    size = sum(tensor.numel() for tensor in trained.values())
    assert record.parameters["trainable"] == size
    assert size <= build_method(name).count(saved.adapted.backbone.shape).trainable
    searched, retrained = (sorted((folder / f"phase-{phase}").glob("best-*")) for phase in (0, 1))
    assert searched
    assert retrained
    assert [entry["step"] for entry in record.history] == [1, 2, 3]
    search_size = sum(t.numel() for t in load_file(searched[-1] / "adapter.safetensors").values())
    assert (
        f"The search trained {search_size} parameters and ended after 3 steps" in record.notes[-2]
    )
    predictions = (path.parent / record.predictions["path"]).read_text().splitlines()
    rows = [json.loads(row) for row in predictions]
    assert len(rows) == record.splits["test"]["rows"]
    state = json.loads((folder / "adapter" / "state.json").read_text())
    assert build_group("method", state["method"]) == found


def test_a_found_structure_can_be_trained_without_a_search(
    data: Path, tiny_folders: dict[str, Path]
) -> None:
    structure = {
        "method.structure": "[layers.0.query.lora_0,layers.1.ffn_down.adapter]",
        "method.bilevel": "none",
        "method.architecture_lr": "null",
    }
    path = only_record("ssp", data, tiny_folders, **structure)
    record = records.read(path)
    assert record.parameters["trainable"] == 64 + 3 * 32 + 3
    assert not any("search" in note for note in record.notes)
    assert not (data.parent / "outputs" / record.suite / path.stem / "phase-1").exists()
