"""A finished run's adapter: saved as safetensors with a JSON that says what it fits; loaded or served.

<output_dir>/<suite>/<stem>/adapter/adapter.safetensors   what was trained
<output_dir>/<suite>/<stem>/adapter/state.json            method, backbone, record
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from pedro_bench import checks, records
from pedro_bench.backbones import folders
from pedro_bench.data.chat import NONE
from pedro_bench.data.prompt import templates_of
from pedro_bench.errors import BackboneError, ConfigError, RecordError
from pedro_bench.evaluation.config import search_settings
from pedro_bench.nn.adapted_model import HEAD, AdaptedModel, head_for
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import build_group, describe, tokens_left
from pedro_bench.records import RunRecord
from pedro_bench.runs.environment import resolve_device
from pedro_bench.runs.peft_folder import is_peft_folder, peft_adapter
from pedro_bench.runs.saved_run import SavedRun
from pedro_bench.serving import AdapterBank, Search, TenantAdapter
from pedro_bench.training.saved_folder import (
    ADAPTER,
    DamagedFolderError,
    Saved,
    read_folder,
    write_folder,
)

_logger = logging.getLogger(__name__)


def save_adapter(folder: Path, adapted: AdaptedModel, record: RunRecord) -> None:
    """Save the trained adapter of a finished run, whole or not at all.

    Raises:
        TrainingError: If the folder cannot be written or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    header = {"kind": "adapter", "key": record.key, "seed": record.seed}
    state = {
        "method": describe(adapted.method),
        "config": dict(record.config),
        "backbone_revision": adapted.backbone.revision,
        "backbone_content": adapted.backbone.content(),
        "versions": record.versions,
    }
    write_folder(folder / ADAPTER, Saved(header, state, {"adapter": adapted.adapter_state()}))


def load_run(
    path: str | Path, *, device: str, decoding: str, backbone: str | Path | None
) -> SavedRun:
    """Load a run from its record or its working folder; see `pedro_bench.runs.load`."""
    saved = read_saved(path)
    config = dict(saved.state["config"])
    method = trained_method(saved)
    loaded = load_backbone(saved, device, backbone)
    head = None
    if loaded.kind == "encoder":  # no other needs the task, whose class may be another package's
        head = head_for(loaded, build_group("task", config["task"]))
    adapted = AdaptedModel(loaded, method, head)
    adapted.load_adapter_state(saved.tensors["adapter"])
    adapted.eval()
    return SavedRun(adapted, config, decoding)


def trained_method(saved: Saved) -> Method:
    """Return the method of a saved adapter; log a warning where its version has changed since."""
    method: Method = build_group("method", saved.state["method"])
    _compare_version(saved, f"method.{type(method).__name__}", method.version)
    return method


def _compare_version(saved: Saved, component: str, version: int) -> None:
    trained = saved.state.get("versions", {}).get(component, version)
    if trained != version:
        _logger.warning(
            "%s should have version %s, with which the adapter was trained, got %s: its answers may "
            "differ from those of the run's record; train it anew with rerun=true.",
            component,
            trained,
            version,
        )


def load_backbone(saved: Saved, device: str, place: str | Path | None) -> LoadedBackbone:
    """Load the backbone that a run was trained on, after comparing its content.

    Args:
        saved: The run.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        place: The folder in which the backbone lies now; None: where it lay.

    Raises:
        ConfigError: If `place` is no path.
        BackboneError: If it is not there, or not what the run was trained on.
    """
    config, trained = dict(saved.state["config"]["backbone"]), saved.state["backbone_revision"]
    if place is not None:
        checks.text("backbone", str(place) if isinstance(place, Path) else place)
        config |= {"path": str(place), "revision": None}
    path = config.get("path")
    if path is not None and (place is not None or trained.startswith(folders.HASHED)):
        _require_place(str(path), is_given=place is not None)
    chosen: Backbone = build_group("backbone", config)
    found, content = chosen.identity(), saved.state.get("backbone_content")
    if found in (trained, content):
        family, version = chosen.family_version()
        _compare_version(saved, f"family.{family}", version)
        return chosen.load(device=resolve_device(device))
    if place is not None and content is None and not trained.startswith(folders.HASHED):
        raise BackboneError(
            f"backbone must be left out where the content of a run's backbone was not recorded, got "
            f"{str(place)!r}, which cannot be compared with {trained}: load the run from there."
        )
    raise BackboneError(
        f"backbone {chosen.name!r} must be the one the run was trained on ({trained}), got {found}"
        f"{'' if path is None else f' in {str(path)!r}'}: give its folder with backbone=<folder>."
    )


def _require_place(path: str, *, is_given: bool) -> None:
    """Require a folder where a run's backbone is looked for.

    Raises:
        BackboneError: If there is none.
    """
    folder = folders.local_folder(path)
    if folder is not None and folder.exists():
        return
    if is_given:
        raise BackboneError(
            f"backbone must be the folder in which the run's backbone lies now, got {path!r}, where "
            "there is none."
        )
    raise BackboneError(
        f"the backbone of a run must lie in {path!r}, where it lay when the run was trained, got no "
        "such folder: give its place now with backbone=<folder>."
    )


def read_saved(path: str | Path) -> Saved:
    """Read a finished run's adapter from its record or its working folder, without the backbone.

    Raises:
        RecordError: If the run is not finished, or its adapter is gone or damaged.
    """
    path = Path(path)
    if path.is_dir():
        _require_one_run(path)
    folder = path if path.is_dir() else _folder_of(path)
    try:
        saved = read_folder(folder / ADAPTER)
    except DamagedFolderError as error:
        raise RecordError(
            f"a finished run must have its adapter in {folder / ADAPTER}, got a folder in which "
            f"{error}: run it again with rerun=true."
        ) from error
    method = records.config_now({"method": saved.state["method"]})["method"]
    config = records.config_now(saved.state["config"])
    return replace(saved, state={**saved.state, "method": method, "config": config})


def _require_one_run(folder: Path) -> None:
    """Refuse a folder of many runs, such as a suite's of records or of working folders.

    Raises:
        RecordError: If it is one; the message names a run in it.
    """
    if (folder / ADAPTER).is_dir():
        return
    inside = sorted(one for one in folder.iterdir() if "--seed" in one.name)
    if inside:
        raise RecordError(
            f"a run must be one record or its working folder, got {str(folder)!r}, which holds those of "
            f"{len(inside)} runs: give one of them, such as {str(inside[0])!r}."
        )


def _folder_of(path: Path) -> Path:
    """Return the working folder of the run that a record describes.

    Raises:
        RecordError: If the record is not that of a finished run, or its folder is gone.
    """
    record = records.finished_run(path)
    folder = Path(record.config["output_dir"]) / record.suite / record.stem
    if not folder.is_absolute() and not folder.is_dir():
        results_dir = records.results_folder(path.resolve())
        if results_dir is not None and (results_dir.parent / folder).is_dir():
            folder = results_dir.parent / folder
    if not folder.is_dir():
        raise RecordError(
            f"a run must have its working folder {folder} to be loaded, got none: adapters are not "
            "part of the records, so train it again with rerun=true."
        )
    return folder


def saved_adapter(path: str | Path) -> TenantAdapter:
    """Read the adapter of a finished run, for `AdapterBank.add`; the backbone is not loaded.

    Args:
        path: The run's record, or its folder under `output_dir`.

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
    saved = {
        tenant: read_saved(path) for tenant, path in runs.items() if not is_peft_folder(Path(path))
    }
    if not saved:
        raise ConfigError(
            "runs must name at least one run of this package, which says what the backbone is, got adapters "
            "of peft alone."
        )
    first = next(iter(saved.values()))
    method: Method = build_group("method", first.state["method"])  # _adapter warns of its version
    loaded = load_backbone(first, device, backbone)
    bank = AdapterBank(
        loaded,
        method,
        store=store,
        max_length=max(
            tokens_left(int(one.state["config"]["trainer"]["max_length"]), method, loaded.shape)
            for one in saved.values()
        ),
        decoding=decoding,
    )
    try:
        for tenant, path in runs.items():
            is_run = tenant in saved
            adapter = _adapter(saved[tenant]) if is_run else peft_adapter(path, loaded, method)
            bank.add(tenant, adapter)
    except BaseException:
        bank.close()
        raise
    return bank


def _adapter(saved: Saved) -> TenantAdapter:
    task = saved.state["config"]["task"]
    own = search_settings(saved.state["config"]["evaluation"])
    has_head = any(name.startswith(f"{HEAD}.") for name in saved.tensors["adapter"])
    return TenantAdapter(
        trained_method(saved),
        str(saved.state["backbone_revision"]),
        saved.tensors["adapter"],
        saved.state.get("backbone_content"),
        templates_of(task),
        str(task.get("chat_template", NONE)),
        Search(own["length_penalty"], own["no_repeat_ngram_size"]),
        build_group("task", task).head if has_head else None,
        int(saved.state["config"]["trainer"]["max_length"]),
    )
