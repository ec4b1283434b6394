"""Finished runs as tenants: saved adapters into a bank on the one backbone they share."""

from collections.abc import Mapping
from pathlib import Path

from pedro_bench.data.prompt import templates_of
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import build_group, tokens_left
from pedro_bench.runs.saved import load_backbone, read_saved
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
    runs: Mapping[str, str | Path],
    *,
    device: str,
    store: str,
    decoding: str,
    backbone: str | Path | None,
) -> AdapterBank:
    """Load runs as tenants; see `pedro_bench.runs.serve`."""
    if not runs:
        raise ConfigError("runs must name at least one tenant and its run, got none.")
    saved = {tenant: read_saved(path) for tenant, path in runs.items()}
    first = next(iter(saved.values()))
    method = build_group("method", first.state["method"])
    loaded = load_backbone(first, device, backbone)
    bank = AdapterBank(
        loaded,
        method,
        store=store,
        max_length=min(
            tokens_left(int(one.state["config"]["trainer"]["max_length"]), method, loaded.shape)
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
        saved.state.get("backbone_content"),
        templates_of(saved.state["config"]["task"]),
    )
