"""Tasks built from their YAMLs, and a small task for tests of the machinery around it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedro_bench.protocols.settings import build_group

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def make_task() -> Callable[..., Any]:
    """A function that builds a task from its YAML: `make_task("sst2", dev_rows=4)`."""

    def make(name: str, **changes: Any) -> Any:
        config = yaml.safe_load((CONF / "task" / f"{name}.yaml").read_text())
        return build_group("task", {**config, **changes})

    return make
