"""Recording: one repeat of one system as a record, and the key of the comparison that it belongs to.

The key of a run leaves out what moves no score: a device's name, threads, versions of libraries, code. All of
these move a speed, so they stand in the key of a comparison, the code as a hash of the whole package. Records
with the same key were measured alike and may be read in place of measuring again.
"""

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import systems
from pedro_bench.efficiency.measure import OutOfMemory, Sample
from pedro_bench.efficiency.request import Request
from pedro_bench.efficiency.systems import System
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import describe
from pedro_bench.records import RunRecord
from pedro_bench.runs.environment import describe_environment, now

NOTE = (
    "The share of the bandwidth limit counts the weights that one step reads, not the cache or the "
    "adapters; the bandwidth is that of a large copy in the same run."
)

_MEMORY = ("peak_bytes", "reserved_bytes", "bytes_per_tenant")
"""Fields of a sample that stand in a record's memory, the others in its timing."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all records of one measurement share: the loaded backbone, the environment, and when it began.

    `limit` has `bandwidth_bytes_per_second`, and `step_bytes` that one step reads.
    """

    backbone: LoadedBackbone
    limit: Mapping[str, float]
    environment: Mapping[str, Any]
    started: str


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """Names and writes the records of one comparison, whose `key` they share."""

    request: Request
    backbone: Backbone
    data: Mapping[str, Any]
    results_dir: str
    key: str

    def path(self, system: System, repeat: int) -> Path:
        """Return where a repeat's record lies, whether or not it exists."""
        return records.record_path(
            self.results_dir,
            self.request.suite,
            method=system.name,
            task=_task(system),
            backbone=self.backbone.name,
            key=self.key,
            seed=repeat,
        )

    def write(
        self, system: System, repeat: int, taken: Sample | OutOfMemory, setting: Setting
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
            method=system.name,
            task=_task(system),
            backbone=self.backbone.name,
            data=str(self.data["name"]),
            suite=self.request.suite,
            seed=repeat,
            config=self._config(system),
            main_metric="tokens_per_second",
            parameters=_parameters(system, setting.backbone),
            weights=setting.backbone.revision,
            notes=[NOTE],
            environment=dict(setting.environment),
            started=setting.started,
            finished=now(),
        )
        records.write(record, self.results_dir)

    def _config(self, system: System) -> dict[str, Any]:
        own = describe(system.method) if system.method is not None else {}
        labels = {"none": "Backbone", systems.PEER: "LoRA (peft)"}
        method = {**own, "name": system.name, "label": labels.get(system.name, own.get("label"))}
        return {
            "method": method,
            "task": {"name": _task(system), "label": _label(system)},
            "backbone": describe(self.backbone),
            "data": dict(self.data),
            "efficiency": describe(self.request),
            "system": system.setting(),
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


def _task(system: System) -> str:
    """Return what stands where a task does: `generate_beam3`, or with its batch, or `…_merged`."""
    name = f"generate_beam{system.beams}"
    if system.decoding != "plain":
        name = f"{name}_{system.decoding}"
    if system.is_merged:
        return f"{name}_merged"
    if system.is_mixed:
        return f"{name}_tenants{system.tenants}"
    return name if system.sequences == 1 else f"{name}_batch{system.sequences}"


def _label(system: System) -> str:
    """Return the task's printed name: `Beam 3, compiled, 4 tenants`."""
    parts = [f"Beam {system.beams}"]
    if system.decoding != "plain":
        parts.append(system.decoding)
    if system.is_merged:
        parts.append("merged")
    if system.is_mixed:
        parts.append(f"{system.tenants} tenants")
    elif system.sequences > 1:
        parts.append(f"batch of {system.sequences}")
    return ", ".join(parts)


def _parameters(system: System, backbone: LoadedBackbone) -> dict[str, int]:
    if system.method is None:
        return {"matrices": 0, "trainable": 0, "total": backbone.shape.num_parameters}
    count = system.method.count(backbone.shape)
    return {
        "matrices": count.matrices,
        "trainable": count.trainable,
        "total": backbone.shape.num_parameters,
    }


_CPU_INFO = Path("/proc/cpuinfo")
_LIBRARIES = ("python", "torch", "transformers", "peft")


def environment(device: str) -> dict[str, Any]:
    """Return what a record says of the machine: as for a run, with the processor's name and peft's version.

    Args:
        device: `cpu`, `cuda` or `cuda:N`.
    """
    found = describe_environment(device)
    peft = {"peft": metadata.version("peft")} if systems.has_peft() else {}
    name = found["device_name"] if device.startswith("cuda") else processor_name()
    return {**found, "device_name": name, "versions": {**found["versions"], **peft}}


def processor_name() -> str:
    """Return what the processor calls itself, or the kind of machine where it does not."""
    if _CPU_INFO.exists():
        for line in _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def comparison_key(
    request: Request,
    methods: Iterable[Method | None],
    backbone: Backbone,
    data: Mapping[str, Any],
    machine: Mapping[str, Any],
) -> str:
    """Return the key of a comparison: twelve hexadecimal digits.

    Args:
        request: What is to be measured.
        methods: The methods; None for the bare backbone.
        backbone: The backbone's configuration.
        data: What identifies the prompts.
        machine: From `environment`.
    """
    versions = machine["versions"]
    return records.run_key(
        {
            "request": describe(request),
            "methods": [describe(one) for one in methods if one is not None],
            "backbone": [describe(backbone), backbone.identity()],
            "data": dict(data),
            "machine": [machine[name] for name in ("device", "device_name", "threads")],
            "versions": {name: versions.get(name) for name in _LIBRARIES},
            "code": machine["code"],
        }
    )
