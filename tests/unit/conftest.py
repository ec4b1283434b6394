"""Tasks built from their YAMLs; trained-looking adapters of tiny models, and finished runs that saved one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pedro_bench.protocols.settings import build_group
from tests.tiny import build_method, read_yaml

CONF = Path(__file__).parents[2] / "conf"


@pytest.fixture
def make_task() -> Callable[..., Any]:
    """A function that builds a task from its YAML: `make_task("sst2", dev_rows=4)`."""

    def make(name: str, **changes: Any) -> Any:
        config = read_yaml(CONF / "task" / f"{name}.yaml")
        return build_group("task", {**config, **changes})

    return make


@pytest.fixture
def make_tenant(load_tiny: Callable[..., Any]) -> Callable[..., Any]:
    """A function that makes a tenant's adapted model: `make_tenant("pedro", seed=3)`."""
    import torch

    from pedro_bench.nn.adapted_model import AdaptedModel

    def make(name: str, seed: int, backbone: Any = None, head: Any = None, **changes: Any) -> Any:
        torch.manual_seed(seed)
        adapted = AdaptedModel(backbone or load_tiny(), build_method(name, **changes), head)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in adapted.adapter.parameters():
                tensor.add_(0.3 * torch.randn(tensor.shape, generator=generator))
        adapted.eval()
        return adapted

    return make


@pytest.fixture
def save_run(
    tmp_path: Path, tiny_folders: dict[str, Path], make_tenant: Callable[..., Any]
) -> Callable[..., Path]:
    """A function that leaves the working folder of a finished run."""
    from pedro_bench.backbones.pretrained import Pretrained
    from pedro_bench.protocols.settings import describe
    from pedro_bench.records import RunRecord
    from pedro_bench.runs.saved import save_adapter

    def save(
        method: str,
        seed: int,
        family: str = "llama",
        task: dict[str, str] | None = None,
        evaluation: dict[str, Any] | None = None,
        max_length: int = 64,
        **changes: Any,
    ) -> Path:
        config = Pretrained(name="tiny", label="tiny", path=str(tiny_folders[family]))
        adapted = make_tenant(method, seed, config.load(device="cpu"), **changes)
        family_name, family_version = config.family_version()
        settings = "".join(f"-{name}={value}" for name, value in changes.items())
        folder = tmp_path / f"{method}-{family}-{seed}{settings}"
        record = RunRecord(
            key="0" * 12,
            status="finished",
            method=method,
            task="boolq",
            backbone="tiny",
            data="micro",
            suite="main",
            seed=seed,
            config={
                "backbone": describe(config),
                "trainer": {"max_length": max_length},
                "task": {"max_new_tokens": 4, **(task or {})},
                "evaluation": {"num_beams": 3, **(evaluation or {})},
            },
            main_metric="accuracy",
            metrics={"test": {"accuracy": 50.0}},
            started="2026-01-01T00:00:00+00:00",
            versions={
                f"method.{type(adapted.method).__name__}": adapted.method.version,
                f"family.{family_name}": family_version,
            },
        )
        save_adapter(folder, adapted, record)
        return folder

    return save
