"""`cli.export`: a run of the micro backbone, its card, and uploads to a local server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import constants

from pedro_bench.cli.command import BAD_INPUT, DONE, RUN_FAILED, guarded
from pedro_bench.cli.export import export
from pedro_bench.cli.hydra.compose import settings_of
from tests.unit.integrations.hub_server import HubServer

pytestmark = pytest.mark.timeout(600)  # the libraries take long to import where others work too

TOKEN = "hf_" + "secretsecret" * 3


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Records of two seeds of one configuration, and their adapters."""
    import torch

    from pedro_bench.nn.adapted_model import AdaptedModel
    from pedro_bench.records import record_path, write
    from pedro_bench.runs.identity import begun, run_key
    from pedro_bench.runs.saved import save_adapter

    root = tmp_path_factory.mktemp("exported")
    places = [f"results_dir={root / 'results'}", f"output_dir={root / 'outputs'}"]
    settings = settings_of(["method=lora", "method.r=2", "task=sst2", "suite=short", *places])
    backbone = settings.backbone.load(device="cpu")
    found = []
    for seed, accuracy in ((0, 62.5), (1, 70.25)):
        torch.manual_seed(seed)
        adapted = AdaptedModel(backbone, settings.method)
        with torch.no_grad():
            for parameter in adapted.adapter.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        names = {"method": "lora", "task": "sst2", "backbone": "micro"}
        key = run_key(settings)
        path = record_path(settings.results_dir, "short", **names, key=key, seed=seed)
        record = begun(settings, seed, path, "2026-01-01T00:00:00+00:00").changed(
            status="finished", metrics={"test": {settings.task.main_metric: accuracy}}
        )
        found.append(write(record, settings.results_dir))
        save_adapter(Path(settings.output_dir) / "short" / path.stem, adapted, record)
        adapted.remove()
    return found


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    server = HubServer()
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.close()


def words(record: Path, out: Path, *further: str) -> list[str]:
    return [f"run={record}", f"out={out}", "device=cpu", "output=json", *further]


def test_a_pushed_adapter_has_a_card_and_no_secret(
    records: list[Path], hub: HubServer, tmp_path: Path, capfd: Any, caplog: Any
) -> None:
    arguments = words(
        records[1], tmp_path / "out", "format=peft", "push=ana/pedro", "base=ana/micro"
    )
    assert guarded(export, [*arguments, "license=mit"]) == DONE
    printed = capfd.readouterr()
    assert json.loads(printed.out)["pushed"] == f"{hub.address}/ana/pedro"
    here = {one.name: one.read_bytes() for one in (tmp_path / "out").iterdir()}
    assert set(here) == {"README.md", "adapter_config.json", "adapter_model.safetensors"}
    assert here == hub.files
    [made] = hub.created  # older clients say private, newer ones visibility
    assert made["name"] == "pedro"
    assert made.get("private") is True or made.get("visibility") == "private"
    assert hub.tokens - {None} == {f"Bearer {TOKEN}"}  # the check of the card goes without
    seen = [
        printed.out,
        printed.err,
        caplog.text,
        *(one.decode("latin-1") for one in here.values()),
    ]
    assert not [
        text
        for text in seen
        if TOKEN in text or str(tmp_path.parent) in text.replace(str(tmp_path / "out"), "")
    ]
    text = here["README.md"].decode()
    facts = huggingface_hub.ModelCard(text).data
    assert (facts.base_model, facts.library_name, facts.license) == ("ana/micro", "peft", "mit")
    scores = [json.loads(one.read_text())["metrics"]["test"]["acc"] for one in records]
    assert f"| 0 | {scores[0]:.2f} |" in text and f"| 1 (this one) | {scores[1]:.2f} |" in text
    assert f"| **median** | **{sum(scores) / 2:.2f}** |" in text
    assert "2 seeds are too few for an interval" in text and "Micro results" in text
    assert "python -m pedro_bench method=lora task=sst2 backbone=micro" in text
    assert 'AutoPeftModelForCausalLM.from_pretrained("ana/pedro")' in text
    assert json.loads(here["adapter_config.json"])["base_model_name_or_path"] == "ana/micro"


def test_a_refused_upload_leaves_the_export(
    records: list[Path], hub: HubServer, tmp_path: Path, capfd: Any
) -> None:
    hub.status = 403
    arguments = words(records[0], tmp_path / "out", "format=native", "push=ana/pedro")
    assert guarded(export, arguments) == RUN_FAILED
    said = capfd.readouterr().err.splitlines()[-1]
    assert said.startswith("error: the Hub must take the export, got status 403 for ana/pedro")
    assert TOKEN not in said
    assert (tmp_path / "out" / "adapter" / "adapter.safetensors").is_file()
    assert str(tmp_path.parent) not in (tmp_path / "out" / "adapter" / "state.json").read_text()


@pytest.mark.parametrize(
    ("further", "said"),
    [
        (["format=peft", "push=ana/pedro"], "base must be a Hub id where an adapter is pushed"),
        (
            ["format=peft", "push=ana"],
            "push must be the name of a repository, USER/REPO, got 'ana'",
        ),
        (["format=zip"], "format must be one of the known words, got 'zip'"),
        (["out=x"], "format must be given, got none"),
        (["form=peft"], "form must be a known key, got 'form=peft'. Did you mean 'format'?"),
    ],
)
def test_bad_input_writes_nothing(
    further: list[str], said: str, records: list[Path], hub: HubServer, tmp_path: Path, capfd: Any
) -> None:
    assert guarded(export, words(records[0], tmp_path / "out", *further)) == BAD_INPUT
    assert said in capfd.readouterr().err
    assert not list(tmp_path.iterdir()) and not hub.created


def test_without_a_token_nothing_is_made(
    records: list[Path], hub: HubServer, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    arguments = words(records[0], tmp_path / "out", "format=native", "push=ana/pedro")
    assert guarded(export, arguments) == BAD_INPUT
    assert "push must have a token that may write to ana/pedro" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())
