"""Compare: the composition root of a measurement: built objects in, records and rows out.

Each contestant leaves one record for each repeat, in the schema of every other run, so `cli.tables` makes
Table 3 of them: methods are rows, `generate_beam1` and `generate_beam3` columns, the median over repeats.
A ratio means something only within one run, so either all records of a comparison are there, or all are
measured anew.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import contestants, meter
from pedro_bench.efficiency.measure import Entry, Sample, entries, samples
from pedro_bench.efficiency.request import Request
from pedro_bench.efficiency.workload import Item, drawn
from pedro_bench.experiment.environment import describe_environment, now
from pedro_bench.experiment.identity import code_version, resolve_device
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import describe
from pedro_bench.records import RunRecord
from pedro_bench.serving import AdapterBank

NOTE = (
    "The share of the bandwidth limit counts the weights that one step reads, not the cache or the "
    "adapters; the bandwidth is that of a large copy in the same run."
)


@dataclass(frozen=True)
class Comparison:
    """Everything that a comparison needs.

    Attributes:
        request: What is to be measured.
        methods: Name -> method; None for the bare backbone.
        backbone: The backbone's configuration.
        items: Items of a task's test split, or None to draw them.
        data: What `items` are: name of the data, and what identifies them.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        results_dir: Root of the records.
        rerun: Whether finished records are measured again.
    """

    request: Request
    methods: dict[str, Method | None]
    backbone: Backbone
    items: Callable[[LoadedBackbone], list[Item]] | None
    data: Mapping[str, Any]
    device: str
    results_dir: str
    rerun: bool


def compare(comparison: Comparison, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure, or read what was measured; return rows, device, bandwidth and paths of records.

    Raises:
        PedroBenchError: If a method does not fit the backbone or cannot serve tenants, or memory
            is short.
    """
    request = comparison.request
    chosen = entries(comparison.methods, request.beams, request.tenants, request.decoding)
    if any(entry.name == contestants.PEER for entry in chosen):
        contestants.check_peer()
    device = resolve_device(comparison.device)
    key = _key(comparison, device)
    paths = [
        [_path(comparison, entry, key, index) for index in _repeats(request)] for entry in chosen
    ]
    if comparison.rerun or not all(_is_finished(path) for group in paths for path in group):
        for record in _measure(comparison, chosen, device, key, tell):
            records.write(record, comparison.results_dir)
    found = [[records.read(path) for path in group] for group in paths]
    rows = [_row(entry, group) for entry, group in zip(chosen, found, strict=True)]
    first = found[0][0]
    return {
        "backbone": comparison.backbone.name,
        "device": first.environment["device_name"],
        "bandwidth_bytes_per_second": first.timing["bandwidth_bytes_per_second"],
        "rows": rows,
        "records": [str(path) for group in paths for path in group],
        "notes": [NOTE],
    }


def _measure(
    comparison: Comparison,
    chosen: Sequence[Entry],
    device: str,
    key: str,
    tell: Callable[[str], None],
) -> list[RunRecord]:
    request = comparison.request
    backbone = comparison.backbone.load(device=device)
    for (
        method
    ) in comparison.methods.values():  # what does not fit raises before anything is measured
        if request.tenants and method is not None:
            AdapterBank(backbone, method).close()
    items = (
        comparison.items(backbone)
        if comparison.items is not None
        else drawn(
            request.prompts,
            prompt_tokens=request.prompt_tokens,
            new_tokens=request.new_tokens,
            vocab_size=backbone.shape.vocab_size,
            seed=request.seed,
        )
    )
    started = now()
    limit = {
        "bandwidth_bytes_per_second": meter.bandwidth(backbone.device),
        "step_bytes": meter.read_bytes(backbone.model),
    }
    taken = samples(
        backbone,
        chosen,
        items,
        repeats=request.repeats,
        warmup=request.warmup,
        seed=request.seed,
        tell=tell,
    )
    common: dict[str, Any] = {
        "key": key,
        "status": "finished",
        "backbone": comparison.backbone.name,
        "data": str(comparison.data["name"]),
        "suite": request.suite,
        "main_metric": "tokens_per_second",
        "environment": describe_environment(device),
        "notes": [f"The backbone's weights are {backbone.revision}.", NOTE],
        "started": started,
        "finished": now(),
    }
    return [
        RunRecord(
            **common,
            method=entry.name,
            task=_task(entry),
            seed=index,
            config=_config(comparison, entry),
            parameters=_parameters(entry, backbone),
            metrics={
                "test": {
                    "tokens_per_second": sample.tokens_per_second,
                    "memory_mib": sample.peak_bytes / 2**20,
                }
            },
            timing=_timing(sample, limit),
            memory={
                "peak_bytes": sample.peak_bytes,
                "of": "gpu" if device.startswith("cuda") else "process",
            },
        )
        for entry, group in zip(chosen, taken, strict=True)
        for index, sample in enumerate(group)
    ]


def _timing(sample: Sample, limit: Mapping[str, float]) -> dict[str, float]:
    share = limit["step_bytes"] / limit["bandwidth_bytes_per_second"] / sample.step_seconds
    own = {name: value for name, value in asdict(sample).items() if name != "peak_bytes"}
    return {**own, **limit, "bandwidth_share": share}


def _row(entry: Entry, found: Sequence[RunRecord]) -> dict[str, Any]:
    """Return medians over the repeats, and the spread of the speed."""
    speeds = [one.metrics["test"]["tokens_per_second"] for one in found]

    def middle(name: str) -> float:
        return float(statistics.median(one.timing[name] for one in found))

    return {
        "method": entry.name,
        "beams": entry.beams,
        "sequences": entry.sequences,
        "tenants": entry.tenants,
        "mixed": entry.is_mixed,
        "decoding": entry.decoding,
        "tokens_per_second": float(statistics.median(speeds)),
        "slowest": min(speeds),
        "fastest": max(speeds),
        "first_token_seconds": middle("first_token_seconds"),
        "seconds_per_token": middle("step_seconds"),
        "bandwidth_share": middle("bandwidth_share"),
        "peak_bytes": int(statistics.median(int(one.memory["peak_bytes"]) for one in found)),
        "repeats": len(found),
    }


def _key(comparison: Comparison, device: str) -> str:
    built = [one for one in comparison.methods.values() if one is not None]
    backbone = comparison.backbone
    modules = [type(part).__module__ for part in (*built, backbone)]
    return records.run_key(
        {
            "request": describe(comparison.request),
            "methods": [describe(one) for one in built],
            "backbone": [describe(backbone), backbone.identity()],
            "data": dict(comparison.data),
            "device": device.partition(":")[0],
            "code": code_version(modules),
        }
    )


def _path(comparison: Comparison, entry: Entry, key: str, repeat: int) -> Path:
    return records.record_path(
        comparison.results_dir,
        comparison.request.suite,
        method=entry.name,
        task=_task(entry),
        backbone=comparison.backbone.name,
        key=key,
        seed=repeat,
    )


def _task(entry: Entry) -> str:
    """Return what stands where a task does: `generate_beam3`, or with its batch."""
    name = f"generate_beam{entry.beams}"
    if entry.decoding != "plain":
        name = f"{name}_{entry.decoding}"
    if entry.is_mixed:
        return f"{name}_tenants{entry.tenants}"
    return name if entry.sequences == 1 else f"{name}_batch{entry.sequences}"


def _label(entry: Entry) -> str:
    """Return the task's printed name: `Beam 3, compiled, 4 tenants`."""
    parts = [f"Beam {entry.beams}"]
    if entry.decoding != "plain":
        parts.append(entry.decoding)
    if entry.is_mixed:
        parts.append(f"{entry.tenants} tenants")
    elif entry.sequences > 1:
        parts.append(f"batch of {entry.sequences}")
    return ", ".join(parts)


def _config(comparison: Comparison, entry: Entry) -> dict[str, Any]:
    own = describe(entry.method) if entry.method is not None else {}
    labels = {"none": "Backbone", contestants.PEER: "LoRA (peft)"}
    method = {**own, "name": entry.name, "label": labels.get(entry.name, own.get("label"))}
    task = _task(entry)
    return {
        "method": method,
        "task": {"name": task, "label": _label(entry)},
        "backbone": describe(comparison.backbone),
        "data": dict(comparison.data),
        "efficiency": describe(comparison.request),
    }


def _parameters(entry: Entry, backbone: LoadedBackbone) -> dict[str, int]:
    if entry.method is None:
        return {"matrices": 0, "trainable": 0, "total": backbone.shape.num_parameters}
    count = entry.method.count(backbone.shape)
    return {
        "matrices": count.matrices,
        "trainable": count.trainable,
        "total": backbone.shape.num_parameters,
    }


def _repeats(request: Request) -> range:
    return range(request.repeats)


def _is_finished(path: Path) -> bool:
    return path.is_file() and records.read(path).status == "finished"
