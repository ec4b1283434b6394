"""The matrix of methods and families says what trying says."""

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.backbones.family import families
from pedro_bench.cli.options import options
from pedro_bench.efficiency.capabilities import LETTERS, as_markdown, probe, samples
from tests.tiny import build_method

DOCUMENT = (Path(__file__).parents[3] / "docs" / "capabilities.md").read_text(encoding="utf-8")


def documented() -> dict[tuple[str, str], str]:
    """Return (method, family) -> letters, as the committed table has them."""
    head, _, *rows = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    names = [cell.strip() for cell in head.strip("|").split("|")][1:]
    found = {}
    for row in rows:
        method, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        found |= {(method, name): cell for name, cell in zip(names, cells, strict=True)}
    return found


def test_the_document_has_every_method_and_every_layout() -> None:
    layouts = {name for one in families().values() for name in one.samples}
    methods = set(options("method"))
    assert set(documented()) == {(method, name) for method in methods for name in layouts}


needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="the extra `quantization` is not installed"
)


@pytest.fixture(scope="module")
def tried() -> dict[tuple[str, str], dict[str, str]]:
    chosen = ("BERT", "Falcon RW", "GPT-2", "T5")
    return {
        (method, name): probe(backbone, quantised, build_method(method))
        for name, backbone, quantised in samples()
        if name in chosen
        for method in ("lora", "pedro", "infix_tuning", "ptuning_v2", "full_ft")
    }


@needs_bitsandbytes
def test_the_document_says_what_trying_says(tried: dict[tuple[str, str], Any]) -> None:
    for place, found in tried.items():
        assert tuple(found) == tuple(LETTERS)
        letters = "".join(LETTERS[name] for name, refusal in found.items() if not refusal)
        assert documented()[place] == (letters or "--"), place
        for refusal in filter(None, found.values()):
            assert re.search(r" must .*, (but )?got ", refusal), refusal


def test_refusals_of_a_kind_stand_in_one_line() -> None:
    refusal = "method {!r} must do this, got backbone 'sample'."
    cells = [
        {
            "method": method,
            "family": family,
            "capability": capability,
            "refusal": None
            if capability == "train" or (method, family) == ("b", "Y")
            else refusal.format(method),
        }
        for method in ("a", "b")
        for family in ("X", "Y")
        for capability in ("train", "merge")
    ]
    lines = as_markdown(cells).splitlines()
    assert "| a | t | t |" in lines
    assert "| b | t | tw |" in lines
    assert lines[-2:] == [
        "- **w** a, b on X: the method must do this, got the backbone.",
        "- **w** a on Y: the method must do this, got the backbone.",
    ]
