"""Finished runs as tenants: saved adapters into a bank on the one backbone they share."""

from collections.abc import Mapping
from pathlib import Path

from pedro_bench.data.prompt import templates_of
from pedro_bench.errors import ConfigError
from pedro_bench.experiment.identity import resolve_device
from pedro_bench.experiment.saved import read_saved
from pedro_bench.protocols.settings import build_group, tokens_left
from pedro_bench.serving import AdapterBank, TenantAdapter
from pedro_bench.training.saved_folder import Saved


def saved_adapter(path: str | Path) -> TenantAdapter:
    """Read the adapter of a finished run, for `AdapterBank.add`; the backbone is not loaded.

    Args:
        path: A record's JSON file, or the run's folder under `output_dir`.

    Raises:
        RecordError: If the run is not finished, or its adapter is gone or damaged.
    """
    return _adapter(read_saved(path))


def open_bank(
    runs: Mapping[str, str | Path], *, device: str, store: str, decoding: str
) -> AdapterBank:
    """Load runs as tenants; see `pedro_bench.experiment.serve`."""
    if not runs:
        raise ConfigError("runs must name at least one tenant and its run, got none.")
    saved = {tenant: read_saved(path) for tenant, path in runs.items()}
    first = next(iter(saved.values()))
    backbone = build_group("backbone", first.state["config"]["backbone"])
    method = build_group("method", first.state["method"])
    bank = AdapterBank(
        backbone.load(device=resolve_device(device)),
        method,
        store=store,
        max_length=min(
            tokens_left(int(one.state["config"]["trainer"]["max_length"]), method)
            for one in saved.values()
        ),
        decoding=decoding,
    )
    try:
        for tenant, one in saved.items():
            bank.add(tenant, _adapter(one))
    except BaseException:
        bank.close()
        raise
    return bank


def _adapter(saved: Saved) -> TenantAdapter:
    return TenantAdapter(
        build_group("method", saved.state["method"]),
        str(saved.state["backbone_revision"]),
        saved.tensors["adapter"],
        templates_of(saved.state["config"]["task"]),
    )
