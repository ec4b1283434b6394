"""Contract of backbones: every YAML, and every architecture of the family, role by role."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.backbones.shapes import CONVENTIONS
from pedro_bench.protocols.backbone import LINEAR_ROLES, ROLES, Backbone
from pedro_bench.protocols.settings import build_group
from tests import tiny
from tests.tiny import read_yaml

CONF = Path(__file__).parents[2] / "conf" / "backbone"
YAMLS = sorted(CONF.rglob("*.yaml"))
FAMILIES = sorted({*CONVENTIONS, "olmo2", "granite", "cohere", "stablelm"})

SIZES = {**tiny.SIZES, "initializer_range": 0.1}


@pytest.fixture(scope="module")
def load_family(
    tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Any]:
    """A function that saves a tiny model of a family once, and loads it anew on each call."""
    root = tmp_path_factory.mktemp("families")

    def load(family: str) -> tuple[Pretrained, Any]:
        folder = root / family
        if not folder.exists():
            torch.manual_seed(0)
            config = transformers.AutoConfig.for_model(family, **SIZES)
            transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        backbone = Pretrained(
            name=family,
            label=family,
            path=str(folder),
            tokenizer_path=str(tiny_folders["llama"]),
            attn_implementation="eager",
        )
        return backbone, backbone.load(device="cpu")

    return load


def test_there_are_yamls() -> None:
    assert {"micro", "llama2_7b", "llama2_13b", "gemma_2b", "causal_lm"} <= {
        file.stem for file in YAMLS
    }


@pytest.mark.parametrize("file", YAMLS, ids=lambda file: file.stem)
def test_yaml_builds_and_is_named_after_its_file(file: Path) -> None:
    backbone = build_group("backbone", read_yaml(file))
    assert isinstance(backbone, Backbone)
    assert backbone.name == file.stem
    assert backbone.label


@pytest.mark.parametrize("family", FAMILIES)
def test_every_role_is_found_in_every_layer_as_announced(
    load_family: Callable[[str], Any], family: str
) -> None:
    backbone, loaded = load_family(family)
    shape = backbone.shape()
    assert loaded.shape == shape
    assert shape.num_parameters == sum(p.numel() for p in loaded.model.parameters())
    for role in LINEAR_ROLES:
        sites = loaded.sites(role)
        assert [site.layer for site in sites] == list(range(shape.num_layers))
        for site in sites:
            width = shape.widths[site.layer][role]
            assert site.module is loaded.model.get_submodule(site.path)
            assert (site.module.in_features, site.module.out_features) == (
                width.inputs,
                width.outputs,
            )
            assert (site.inputs, site.outputs) == (width.inputs, width.outputs)
            assert (site.module.bias is not None) == width.bias
            assert site.columns is None


@pytest.mark.parametrize("family", FAMILIES)
def test_roles_that_are_not_projections(load_family: Callable[[str], Any], family: str) -> None:
    _, loaded = load_family(family)
    assert {role for role in ROLES if loaded.sites(role)} == set(ROLES)
    assert [site.layer for site in loaded.sites("block")] == [0, 1]
    (embedding,) = loaded.sites("embedding")
    assert embedding.layer is None
    assert tuple(embedding.module.weight.shape) == (64, 32)
    norms = loaded.sites("norm")
    assert norms[-1].layer is None, "the last one stands after the layers"
    assert {site.layer for site in norms} == {0, 1, None}
    for site in norms:
        assert site.module(torch.ones(1, 1, 32)).shape == (1, 1, 32)


@pytest.mark.parametrize("family", FAMILIES)
def test_decoder_and_head_give_the_models_logits(
    load_family: Callable[[str], Any], family: str
) -> None:
    _, loaded = load_family(family)
    ids_BT = torch.tensor([[1, 5, 9, 12, 40], [1, 7, 33, 2, 6]])
    with torch.no_grad():
        expected_BTV = loaded.model(input_ids=ids_BT).logits
        hidden_BTD = loaded.decoder(input_ids=ids_BT).last_hidden_state
        logits_NV = loaded.head(hidden_BTD.reshape(-1, 32))
    assert torch.allclose(logits_NV, expected_BTV.reshape(-1, 64), atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_tokenizer_round_trip_and_special_tokens(
    load_family: Callable[[str], Any], family: str
) -> None:
    _, loaded = load_family(family)
    tokenizer = loaded.tokenizer
    ids = tokenizer("who is Ana", add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == "who is Ana"
    assert tokenizer.eos_token_id is not None
    assert tokenizer.pad_token_id is not None
    assert max(ids) < loaded.shape.vocab_size


def test_the_embedded_backbone(request: pytest.FixtureRequest) -> None:
    """The shipped weights load as float32 on the CPU, and their fingerprint takes under 50 ms."""
    import time

    values = read_yaml(CONF / "micro.yaml")
    backbone = build_group("backbone", values)
    loaded = backbone.load(device="cpu")
    assert loaded.model.dtype == torch.float32
    assert 500_000 < backbone.shape().num_parameters < 5_000_000
    text = "Who lives in a small town? Nobody knows."
    ids = loaded.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert loaded.tokenizer.decode(ids).split() == text.split()
    loaded.fingerprint()
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        loaded.fingerprint()
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.05
