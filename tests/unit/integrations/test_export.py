"""Exports of runs: each format gives the trained model's logits, also in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import pedro_bench
from pedro_bench.errors import ConfigError
from pedro_bench.integrations.export.request import Request
from pedro_bench.integrations.export.writing import export
from pedro_bench.methods.lora import Lora
from pedro_bench.training.saved_folder import read_folder, write_folder

LOADER = Path(__file__).parent / "loads_exports.py"
SMALL = {"num_virtual_tokens": 3}
PEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "lora": ("LORA", {}),
    "dora": ("LORA", {}),
    "adalora": ("ADALORA", {}),
    "ia3": ("IA3", {"r": None}),
    "road": ("ROAD", {"variant": "road_4", "group_size": 8}),
    "ptuning_v2": ("PREFIX_TUNING", SMALL),
    "prefix_tuning": ("PREFIX_TUNING", {**SMALL, "encoder_hidden_size": 12}),
    "prompt_tuning": ("PROMPT_TUNING", SMALL),
}
"""Method -> peft's own type of it, and settings."""
PLUGIN: dict[str, dict[str, Any]] = {
    "pedro": {"r": 4},
    "red": {},
    "ia3": {"r": 4},
    "bitfit": {"r": 4},
    "lpt": {**SMALL, "bottleneck_size": 8},
    "infix_tuning": SMALL,
}
MERGED: dict[str, dict[str, Any]] = {
    "lora": {},
    "dora": {},
    "adalora": {},
    "ia3": {"r": 4},
    "red": {},
    "bitfit": {"r": None},
    "road": {},
    "full_ft": {},
}


def no_command(runs: Any) -> str:
    raise AssertionError("a run without records has no command")


def exported(run: Path, form: str, **further: Any) -> Path:
    out = run.with_name(f"{run.name}-{form}")
    request = Request(run=str(run), format=form, out=str(out), device="cpu", **further)
    return export(request, no_command)


ASKED: list[tuple[str, str, dict[str, Any]]] = [
    *(("peft", name, changes) for name, (_, changes) in PEFT.items()),
    *(("plugin", name, changes) for name, changes in PLUGIN.items()),
    *(("remote_code", name, PLUGIN[name]) for name in ("pedro", "bitfit")),
    *(("merged", name, changes) for name, changes in MERGED.items()),
    ("native", "pedro", {"r": 4}),
    ("native", "houlsby_adapter", {}),
]
FEW = (
    ("peft", "lora"),
    ("plugin", "pedro"),
    ("remote_code", "pedro"),
    ("merged", "red"),
    ("native", "pedro"),
)


@pytest.mark.timeout(600)  # a process of its own that imports all the libraries
@pytest.mark.parametrize(
    "asked",
    [
        pytest.param([one for one in ASKED if one[:2] in FEW], id="few"),
        pytest.param(ASKED, id="all", marks=pytest.mark.slow),
    ],
)
def test_a_fresh_process_gives_the_trained_logits(
    asked: list[tuple[str, str, dict[str, Any]]],
    save_run: Callable[..., Path],
    make_batch: Callable[..., Any],
    tiny_folders: dict[str, Path],
    tmp_path: Path,
) -> None:
    batch = make_batch(((6, 3), (6, 3)))
    expected, given = {}, []
    for number, (kind, name, changes) in enumerate(asked):
        run = save_run(name, number, **changes)
        with torch.no_grad():
            expected[kind, name], _ = pedro_bench.load(run, device="cpu").model.answer_logits(batch)
        folder = exported(run, "peft" if kind == "plugin" else kind)
        given.append((kind, name, folder))
        if kind == "peft":
            config = json.loads((folder / "adapter_config.json").read_text())
            assert config["peft_type"] == PEFT[name][0]
            assert config["base_model_name_or_path"] == str(tiny_folders["llama"].resolve())
    tokens = tmp_path / "tokens.json"
    rows = {"ids": batch.input_ids_BT.tolist(), "labels": batch.labels_BT.tolist()}
    tokens.write_text(json.dumps({**rows, "backbone": str(tiny_folders["llama"])}))
    words = [f"{kind}={folder}" for kind, _, folder in given]
    done = subprocess.run(
        [sys.executable, str(LOADER), str(tokens), *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[3],
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    for kind, name, folder in given:
        torch.testing.assert_close(
            torch.tensor(found[str(folder)]),
            expected[kind, name],
            rtol=1e-4,
            atol=1e-4,
            msg=lambda text, kind=kind, name=name: f"{kind} {name}: {text}",
        )


@pytest.mark.parametrize("family", ["gpt2", "gpt_neox", "gemma"])
@pytest.mark.parametrize("name", ["lora", "ia3", "bitfit"])
def test_merged_families(name: str, family: str, save_run: Callable[..., Path]) -> None:
    """Fused and transposed projections, and biases that are there; the export proves its logits itself."""
    run = save_run(name, 0, family, **({"roles": ["query", "value"]} if name == "lora" else {}))
    if (name, family) == ("bitfit", "gemma"):
        with pytest.raises(ConfigError, match=r"vector is added to a projection without a bias"):
            exported(run, "merged")
        return
    folder = exported(run, "merged")
    assert (folder / "model.safetensors").is_file()


def test_names_of_projections_are_no_others(save_run: Callable[..., Path]) -> None:
    """GPT-2 calls two projections c_proj."""
    folder = exported(save_run("lora", 0, "gpt2", roles=["attn_out", "ffn_up"]), "peft")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert sorted(config["target_modules"]) == ["attn.c_proj", "c_fc"]


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        (
            "houlsby_adapter",
            "remote_code",
            r"peft must have a type that computes .* use format=native",
        ),
        ("full_ft", "peft", r"'full_ft' does for format=peft and format=remote_code, got none"),
        ("pedro", "merged", r"in the same way for every prompt; use format=native"),
        ("houlsby_adapter", "merged", r"must not be merged for method 'houlsby_adapter'"),
    ],
)
def test_what_cannot_be_exported_says_why(
    name: str, form: str, message: str, save_run: Callable[..., Path]
) -> None:
    run = save_run(name, 0)
    with pytest.raises(ConfigError, match=message):
        exported(run, form)
    assert sorted(one.name for one in run.parent.iterdir()) == [run.name]


def test_fused_projections_and_encoders_are_refused(save_run: Callable[..., Path]) -> None:
    with pytest.raises(ConfigError, match=r"one role each, got the role 'query' as a part of"):
        exported(save_run("lora", 0, "gpt_neox"), "peft")


def test_bad_requests(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("")
    for out in (".", "..", "/"):
        with pytest.raises(ConfigError, match="out must name a folder of its own, got"):
            Request(run="x", format="native", out=out)
    with pytest.raises(ConfigError, match=r"out must be a folder that is new or empty"):
        Request(run="x", format="peft", out=str(tmp_path / "full"))
    with pytest.raises(ConfigError, match=r"format must be one of .* got 'pefd'.*'peft'"):
        Request(run="x", format="pefd", out=str(tmp_path / "new"))


def test_native_names_no_place_of_this_machine(save_run: Callable[..., Path]) -> None:
    run = save_run("lora", 0)
    folder = exported(run, "native")
    text = (folder / "adapter" / "state.json").read_text()
    assert str(run.parent) not in text and '"path": "llama' in text


def test_a_link_to_an_empty_folder_is_filled(save_run: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    out = tmp_path / "out"
    out.symlink_to("disk", target_is_directory=True)
    run = save_run("lora", 0)
    export(Request(run=str(run), format="native", out=str(out), device="cpu"), no_command)
    assert out.is_symlink()
    assert sorted(path.name for path in (tmp_path / "disk").iterdir()) == ["README.md", "adapter"]


def test_native_needs_the_methods_class_and_the_card_says_so(
    save_run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = save_run("lora", 0)
    saved = read_folder(run / "adapter")
    state = {**saved.state, "method": {**saved.state["method"], "_target_": "own_lora.Lora"}}
    shutil.rmtree(run / "adapter")
    write_folder(run / "adapter", replace(saved, state=state))
    for form in ("native", "merged"):
        with pytest.raises(ConfigError, match=r"No module named 'own_lora'\): give the folder of"):
            exported(run, form)
    assert sorted(one.name for one in run.parent.iterdir()) == [run.name]
    module = ModuleType("own_lora")
    monkeypatch.setattr(module, "Lora", Lora, raising=False)
    monkeypatch.setitem(sys.modules, "own_lora", module)
    told = "The method is a class of the module `own_lora`, which must be on `PYTHONPATH`."
    assert told in (exported(run, "native") / "README.md").read_text()
    assert told not in (exported(save_run("lora", 1), "native") / "README.md").read_text()
