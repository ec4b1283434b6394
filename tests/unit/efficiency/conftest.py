"""A comparison on a tiny backbone, which takes seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = {"repeats": 2, "warmup": 1, "prompts": 2, "prompt_tokens": 6, "new_tokens": 3}


@pytest.fixture
def make_comparison(tiny_folders: dict[str, Path], tmp_path: Path) -> Callable[..., Any]:
    """A function that makes a comparison: `make_comparison(methods=["lora"], tenants=[3])`."""
    from pedro_bench.backbones.pretrained import Pretrained
    from pedro_bench.efficiency.compare import Comparison
    from pedro_bench.efficiency.request import DEFAULTS, request_of
    from tests.tiny import build_method

    def make(rerun: bool = False, data: dict[str, Any] | None = None, **own: Any) -> Comparison:
        request = request_of({**DEFAULTS, **SMALL, **own})
        return Comparison(
            request,
            {name: None if name == "none" else build_method(name) for name in request.methods},
            Pretrained(name="tiny", label="tiny", path=str(tiny_folders["llama"])),
            None,
            data or {"name": "paper_lengths"},
            "cpu",
            str(tmp_path),
            rerun,
        )

    return make
