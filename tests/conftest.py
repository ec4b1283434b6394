"""Tiny real backbones in the real file format, and the lists of YAMLs that the contracts run over."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest

from tests.faults import FaultTable
from tests.tiny import pad_left, save_tiny

FAULT_SECONDS = 900


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-faults", metavar="FILE", help="write the table of faults into a document"
    )


def pytest_configure(config: pytest.Config) -> None:
    place = config.getoption("--write-faults")
    if place is not None:
        config.pluginmanager.register(FaultTable(config.rootpath / place), "fault-table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every fault time on a machine that does other work as well: its limit is against hanging."""
    for item in items:
        own = item.get_closest_marker("timeout")
        if item.get_closest_marker("fault") and (own is None or own.args[0] < FAULT_SECONDS):
            item.add_marker(pytest.mark.timeout(FAULT_SECONDS), append=False)


@pytest.fixture(autouse=True)
def _without_meteor_15(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let E2E be scored as where the extra is not installed: METEOR's program takes long to start."""
    monkeypatch.setattr("pedro_bench.metrics.caption_programs.PACKAGE", "not-installed")


class TinyFolders(dict[str, Path]):
    """Name in `tiny.CONFIGS` -> folder of that tiny checkpoint, saved when it is first asked for."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root

    def __missing__(self, name: str) -> Path:
        self[name] = save_tiny(self._root / name, name)
        return self[name]


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny checkpoints: `llama` (grouped-query attention), `gemma` (wide heads) and so on."""
    return TinyFolders(tmp_path_factory.mktemp("backbones"))


@pytest.fixture
def load_tiny(tiny_folders: dict[str, Path]) -> Callable[..., Any]:
    """A function that loads a tiny backbone: `load_tiny("gemma", dtype="bfloat16")`."""
    from pedro_bench.backbones.pretrained import Pretrained

    def load(family: str = "llama", **options: Any) -> Any:
        config = Pretrained(
            name=f"tiny_{family}", label="tiny", path=str(tiny_folders[family]), **options
        )
        return config.load(device="cpu")

    return load


@pytest.fixture
def tiny_backbone(load_tiny: Callable[..., Any]) -> Any:
    """A tiny Llama with grouped-query attention, freshly loaded."""
    return load_tiny()


@pytest.fixture
def make_batch() -> Callable[..., Any]:
    """A function that makes a batch of random tokens: `make_batch(((5, 2), (3, 1)), side="left")`."""
    import torch

    from pedro_bench.protocols.batch import Batch

    def make(
        lengths: tuple[tuple[int, int], ...] = ((6, 2), (3, 3), (4, 1)),
        *,
        side: str = "right",
        seed: int = 0,
    ) -> Any:
        generator = torch.Generator().manual_seed(seed)
        width = max(prompt + answer for prompt, answer in lengths)
        ids = torch.zeros(len(lengths), width, dtype=torch.long)
        prompts, answers = torch.zeros_like(ids).bool(), torch.zeros_like(ids).bool()
        for row, (prompt, answer) in enumerate(lengths):
            end = prompt + answer
            ids[row, :end] = torch.randint(4, 40, (end,), generator=generator)
            ids[row, 0], ids[row, end - 1] = 1, 2
            prompts[row, :prompt], answers[row, prompt:end] = True, True
        batch = Batch(
            ids,
            prompts | answers,
            prompts,
            ids.masked_fill(~answers, -100),
        )
        return batch if side == "right" else pad_left(batch)

    return make


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep PyTorch to one thread, so that tests in parallel do not fight over two cores."""
    import sys

    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    return
