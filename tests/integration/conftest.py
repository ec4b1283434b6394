"""Settings of runs of two steps on a tiny Llama and a few sentences."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.protocols.settings import Settings


@pytest.fixture
def few_steps(tmp_path: Path, tiny_folders: dict[str, Path]) -> Callable[..., Settings]:
    """A function that gives settings of LoRA with these seeds, as typed, and as many steps."""
    folder = tmp_path / "data" / "sst2"
    folder.mkdir(parents=True)
    for name, count in (("train", 20), ("validation", 12)):
        rows = [{"sentence": f"a good film {i}", "label": i % 2} for i in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def make(seeds: str = "[0]", steps: int = 2) -> Settings:
        return settings_of(
            [
                "method=lora",
                "task=sst2",
                "data=files",
                f"data.root={folder.parent}",
                "backbone=causal_lm",
                f"backbone.path={tiny_folders['llama']}",
                f"trainer.max_steps={steps}",
                "trainer.eval_every_steps=1",
                "evaluation.num_beams=1",
                f"seeds={seeds}",
                f"results_dir={tmp_path / 'results'}",
                f"output_dir={tmp_path / 'outputs'}",
            ]
        )

    return make
