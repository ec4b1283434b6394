"""Key: what decides the numbers of a comparison: what is measured, by which code, on which machine.

The key of a run leaves out what moves no score: a device's name, threads, versions of libraries, code. All of
these move a speed, so they enter here, the code by a hash of the whole package. Records with the same key
were measured alike and may be read in place of measuring anew.
"""

import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import systems
from pedro_bench.efficiency.request import Request
from pedro_bench.protocols.backbone import Backbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import describe
from pedro_bench.runs.environment import describe_environment

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
