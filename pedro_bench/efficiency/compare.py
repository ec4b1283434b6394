"""Compare: the composition root of a measurement: built objects in, records and rows out.

Each contestant leaves one record for each repeat, in the schema of every other run, so `cli.tables` makes
Table 3 of them: methods are rows, `generate_beam1` and `generate_beam3` columns, the median over repeats.
A repeat's records are written together as soon as all contestants had their turn, so a command that is
stopped leaves its finished repeats. A ratio means something only within one run, so either all records of
a comparison are there, of one run, or all are measured anew. What does not fit into memory leaves a failed
record and no row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import contestants, meter
from pedro_bench.efficiency.entries import Entry, entries
from pedro_bench.efficiency.measure import repeats
from pedro_bench.efficiency.recording import NOTE, Recorder, Setting
from pedro_bench.efficiency.request import Request
from pedro_bench.efficiency.rows import row_of
from pedro_bench.efficiency.workload import Item, drawn
from pedro_bench.errors import TrainingError
from pedro_bench.experiment.environment import describe_environment, now
from pedro_bench.experiment.identity import code_version, resolve_device
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import describe
from pedro_bench.records import RunRecord
from pedro_bench.serving import AdapterBank

_VERSION = 2
"""Raised when something else is measured, or a record holds it otherwise."""


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

    `notes` says which contestants did not fit into memory; `records` are those that the rows are made of.

    Raises:
        PedroBenchError: If a method does not fit the backbone or cannot serve tenants, or memory
            is short for every contestant.
    """
    request = comparison.request
    chosen = entries(comparison.methods, request.beams, request.tenants, request.decoding)
    if any(entry.name == contestants.PEER for entry in chosen):
        contestants.check_peer()
    device = resolve_device(comparison.device)
    recorder = Recorder(
        request=request,
        backbone=comparison.backbone,
        data=comparison.data,
        results_dir=comparison.results_dir,
        key=_key(comparison, device),
    )
    paths = [
        [recorder.path(entry, repeat) for repeat in range(request.repeats)] for entry in chosen
    ]
    if comparison.rerun or not _is_whole([path for group in paths for path in group]):
        _measure(comparison, chosen, recorder, device, tell)
    return _found(comparison, paths)


def _found(comparison: Comparison, paths: Sequence[Sequence[Path]]) -> dict[str, Any]:
    """Return what the records say.

    Raises:
        TrainingError: If no contestant fitted into memory.
    """
    finished: list[list[tuple[Path, RunRecord]]] = []
    lost: dict[str, None] = {}
    for group in paths:
        read = [(path, records.read(path)) for path in group]
        lost |= {record.error: None for _, record in read if record.error is not None}
        finished.append([(path, record) for path, record in read if record.status == "finished"])
    finished = [group for group in finished if group]
    if not finished:
        raise TrainingError(next(iter(lost)))
    first = finished[0][0][1]
    return {
        "backbone": comparison.backbone.name,
        "device": first.environment["device_name"],
        "bandwidth_bytes_per_second": first.timing["bandwidth_bytes_per_second"],
        "rows": [row_of([record for _, record in group]) for group in finished],
        "records": [str(path) for group in finished for path, _ in group],
        "notes": [NOTE, *lost],
    }


def _measure(
    comparison: Comparison,
    chosen: Sequence[Entry],
    recorder: Recorder,
    device: str,
    tell: Callable[[str], None],
) -> None:
    """Measure, and write the records of each repeat when it is whole."""
    request = comparison.request
    backbone = comparison.backbone.load(device=device)
    for method in comparison.methods.values():
        if request.tenants and method is not None:
            # What does not fit raises before anything is measured.
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
    setting = Setting(
        backbone=backbone,
        limit=limit,
        environment=describe_environment(device),
        started=started,
    )
    taken = repeats(
        backbone,
        chosen,
        items,
        count=request.repeats,
        warmup=request.warmup,
        seed=request.seed,
        tell=tell,
    )
    for repeat, turns in enumerate(taken):
        for entry, turn in zip(chosen, turns, strict=True):
            recorder.write(entry, repeat, turn, setting)


def _key(comparison: Comparison, device: str) -> str:
    built = [one for one in comparison.methods.values() if one is not None]
    backbone = comparison.backbone
    modules = [type(part).__module__ for part in (*built, backbone)]
    return records.run_key(
        {
            "version": _VERSION,
            "request": describe(comparison.request),
            "methods": [describe(one) for one in built],
            "backbone": [describe(backbone), backbone.identity()],
            "data": dict(comparison.data),
            "device": device.partition(":")[0],
            "code": code_version(modules),
        }
    )


def _is_whole(paths: Sequence[Path]) -> bool:
    """Whether all of these records are there and finished, and of one run."""
    if not all(path.is_file() for path in paths):
        return False
    read = [records.read(path) for path in paths]
    return all(one.status == "finished" for one in read) and len({one.started for one in read}) == 1
