"""Recording: one repeat of one system as a record, in the schema of every other run."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import systems
from pedro_bench.efficiency.entries import Entry
from pedro_bench.efficiency.measure import OutOfMemory, Sample
from pedro_bench.efficiency.request import Request
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.settings import describe
from pedro_bench.records import RunRecord
from pedro_bench.runs.environment import now

NOTE = (
    "The share of the bandwidth limit counts the weights that one step reads, not the cache or the "
    "adapters; the bandwidth is that of a large copy in the same run."
)

_MEMORY = ("peak_bytes", "reserved_bytes", "bytes_per_tenant")
"""Fields of a sample that stand in a record's memory, the others in its timing."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all records of one measurement share.

    Attributes:
        backbone: The loaded backbone.
        limit: `bandwidth_bytes_per_second`, and `step_bytes` that one step reads.
        environment: As in a record.
        started: When the measurement began; it tells the records of one run from those of another.
    """

    backbone: LoadedBackbone
    limit: Mapping[str, float]
    environment: Mapping[str, Any]
    started: str


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Names and writes the records of one comparison.

    Attributes:
        request: What is to be measured.
        backbone: The backbone's configuration.
        data: What was read: name of the data, and what identifies it.
        results_dir: Root of the records.
        key: The comparison's key.
    """

    request: Request
    backbone: Backbone
    data: Mapping[str, Any]
    results_dir: str
    key: str

    def path(self, entry: Entry, repeat: int) -> Path:
        """Return where a repeat's record lies, whether or not it exists."""
        return records.record_path(
            self.results_dir,
            self.request.suite,
            method=entry.name,
            task=_task(entry),
            backbone=self.backbone.name,
            key=self.key,
            seed=repeat,
        )

    def write(
        self, entry: Entry, repeat: int, taken: Sample | OutOfMemory, setting: Setting
    ) -> None:
        """Write one repeat's record: finished with its sample, or failed with the reason.

        Raises:
            RecordError: If the folder cannot be written or the disk is full; no half file is left.
        """
        outcome: dict[str, Any] = {"status": "failed"}
        if isinstance(taken, OutOfMemory):
            outcome["error"] = taken.sentence
        else:
            outcome = _outcome(taken, setting)
        record = RunRecord(
            **outcome,
            key=self.key,
            method=entry.name,
            task=_task(entry),
            backbone=self.backbone.name,
            data=str(self.data["name"]),
            suite=self.request.suite,
            seed=repeat,
            config=self._config(entry),
            main_metric="tokens_per_second",
            parameters=_parameters(entry, setting.backbone),
            weights=setting.backbone.revision,
            notes=[NOTE],
            environment=dict(setting.environment),
            started=setting.started,
            finished=now(),
        )
        records.write(record, self.results_dir)

    def _config(self, entry: Entry) -> dict[str, Any]:
        own = describe(entry.method) if entry.method is not None else {}
        labels = {"none": "Backbone", systems.PEER: "LoRA (peft)"}
        method = {**own, "name": entry.name, "label": labels.get(entry.name, own.get("label"))}
        return {
            "method": method,
            "task": {"name": _task(entry), "label": _label(entry)},
            "backbone": describe(self.backbone),
            "data": dict(self.data),
            "efficiency": describe(self.request),
            "system": entry.setting(),
        }


def _outcome(sample: Sample, setting: Setting) -> dict[str, Any]:
    limit = setting.limit
    share = limit["step_bytes"] / limit["bandwidth_bytes_per_second"] / sample.step_seconds
    own = asdict(sample)
    memory = {name: own.pop(name) for name in _MEMORY}
    speed = sample.tokens_per_second
    scores = {"tokens_per_second": speed, "memory_mib": sample.peak_bytes / 2**20}
    of = "gpu" if setting.backbone.device.type == "cuda" else "process"
    return {
        "status": "finished",
        "metrics": {"test": scores},
        "timing": {**own, **limit, "bandwidth_share": share},
        "memory": {**memory, "of": of},
    }


def _task(entry: Entry) -> str:
    """Return what stands where a task does: `generate_beam3`, or with its batch, or `…_merged`."""
    name = f"generate_beam{entry.beams}"
    if entry.decoding != "plain":
        name = f"{name}_{entry.decoding}"
    if entry.is_merged:
        return f"{name}_merged"
    if entry.is_mixed:
        return f"{name}_tenants{entry.tenants}"
    return name if entry.sequences == 1 else f"{name}_batch{entry.sequences}"


def _label(entry: Entry) -> str:
    """Return the task's printed name: `Beam 3, compiled, 4 tenants`."""
    parts = [f"Beam {entry.beams}"]
    if entry.decoding != "plain":
        parts.append(entry.decoding)
    if entry.is_merged:
        parts.append("merged")
    if entry.is_mixed:
        parts.append(f"{entry.tenants} tenants")
    elif entry.sequences > 1:
        parts.append(f"batch of {entry.sequences}")
    return ", ".join(parts)


def _parameters(entry: Entry, backbone: LoadedBackbone) -> dict[str, int]:
    if entry.method is None:
        return {"matrices": 0, "trainable": 0, "total": backbone.shape.num_parameters}
    count = entry.method.count(backbone.shape)
    return {
        "matrices": count.matrices,
        "trainable": count.trainable,
        "total": backbone.shape.num_parameters,
    }
