"""One run: its key, its phases, its record and its saved adapter.

    load(record)          gives a finished run back to generate with
    serve({name: record}) many finished runs as tenants of one backbone

Everything heavy is imported when it is needed.
"""

import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import check_device

if TYPE_CHECKING:
    from pedro_bench.runs.saved_run import SavedRun
    from pedro_bench.serving import AdapterBank

__all__ = ["load", "serve"]


def load(
    path: str | Path,
    *,
    device: str = "auto",
    decoding: str = "plain",
    backbone: str | Path | None = None,
) -> "SavedRun":
    """Load a finished run: its backbone with the trained adapter.

    Args:
        path: A record's JSON file, or the run's folder under `output_dir`.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        decoding: `plain`, or `static` or `compiled` for fast steps (docs/serving.md).
        backbone: Folder in which the run's backbone lies now; None: where it lay. Its content must be
            what the run was trained on.

    Raises:
        RecordError: If the run is not finished, or its adapter is gone or damaged.
        BackboneError: If the backbone is not there, or not what the run was trained on.
    """
    from pedro_bench.runs.saved import load_run

    check_device(device)
    return load_run(
        Path(checks.path("path", path)), device=device, decoding=decoding, backbone=backbone
    )


def serve(
    runs: Mapping[str, str | Path],
    *,
    device: str = "auto",
    store: str = "backbone",
    decoding: str = "plain",
    backbone: str | Path | None = None,
) -> "AdapterBank":
    """Load finished runs of one method on one backbone as tenants of an adapter bank.

    Args:
        runs: Tenant's name -> a record's JSON file, the run's folder under `output_dir`, or a folder in which
            peft saved a LoRA or a PEDRO; at least one is a run, whose backbone is all tenants'.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        store: `backbone`: adapters lie on the backbone's device; `cpu`: in main memory.
        decoding: `plain`, or `static` or `compiled` for fast steps (docs/serving.md).
        backbone: Folder in which the runs' backbone lies now; None: where it lay. Its content must be
            what each run was trained on.

    Raises:
        RecordError: If a run is not finished, or its adapter is gone or damaged.
        BackboneError: If the runs were not trained on one and the same backbone.
        InjectionError: If the method cannot serve many tenants; the message says why.
        ConfigError: If `runs` is empty, or the runs trained different methods.
    """
    from pedro_bench.runs.saved import open_bank

    given: Any = runs
    if not isinstance(given, Mapping):
        raise ConfigError(
            "runs must name each tenant's run, as {'anna': 'results/runs/…/….json'}, got "
            f"{reprlib.repr(given)}."
        )
    check_device(device)
    for name in given:
        checks.text("a tenant in runs", name)
    paths = {name: Path(checks.path(f"runs[{name!r}]", path)) for name, path in given.items()}
    return open_bank(paths, device=device, store=store, decoding=decoding, backbone=backbone)
