"""Compare: the composition root of a measurement: built objects in, records and rows out.

Each system leaves one record for each repeat, in the schema of every other run, so `cli.tables` makes
Table 3 of them: methods are rows, `generate_beam1` and `generate_beam3` columns, the median over repeats.
A record is written as soon as its turn is over, so a command that is stopped leaves its finished turns. A
ratio means something only within one run: either all records of a comparison are there, of one run, or all
are measured anew, and the first new one takes away the old ones. What does not fit into memory leaves a
failed record and no row.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import meter, systems
from pedro_bench.efficiency.entries import Entry, entries
from pedro_bench.efficiency.key import comparison_key, environment
from pedro_bench.efficiency.measure import turns
from pedro_bench.efficiency.recording import NOTE, Recorder, Setting
from pedro_bench.efficiency.request import Request
from pedro_bench.efficiency.rows import row_of
from pedro_bench.efficiency.workload import Item, drawn
from pedro_bench.errors import ConfigError, TrainingError
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.records import RunRecord
from pedro_bench.runs.environment import now
from pedro_bench.runs.identity import resolve_device
from pedro_bench.serving import AdapterBank


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

    `notes` says which systems did not fit into memory; `records` are those that the rows are made of;
    `started` is when they were measured.

    Raises:
        PedroBenchError: If a method does not fit the backbone or cannot serve tenants, or memory
            is short for every system.
    """
    request = comparison.request
    chosen = entries(comparison.methods, request)
    if any(entry.name == systems.PEER for entry in chosen):
        systems.check_peer()
    device = resolve_device(comparison.device)
    machine = environment(device)
    key = comparison_key(
        request,
        comparison.methods.values(),
        comparison.backbone,
        comparison.data,
        machine,
    )
    recorder = Recorder(
        request=request,
        backbone=comparison.backbone,
        data=comparison.data,
        results_dir=comparison.results_dir,
        key=key,
    )
    paths = [
        [recorder.path(entry, repeat) for repeat in range(request.repeats)] for entry in chosen
    ]
    every = [path for group in paths for path in group]
    if comparison.rerun or not _is_whole(every):
        _measure(comparison, chosen, recorder, machine, device, every, tell)
    else:
        first = records.read(every[0])
        tell(
            f"read from records of {first.started} on {first.environment['device_name']}; rerun=true "
            "measures anew"
        )
    return _found(comparison, paths)


def _found(comparison: Comparison, paths: Sequence[Sequence[Path]]) -> dict[str, Any]:
    """Return what the records say.

    Raises:
        TrainingError: If no system fitted into memory.
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
    rows = [row_of([record for _, record in group]) for group in finished]
    return {
        "backbone": comparison.backbone.name,
        "started": first.started,
        "device": first.environment["device_name"],
        "bandwidth_bytes_per_second": first.timing["bandwidth_bytes_per_second"],
        "rows": rows,
        "records": [str(path) for group in finished for path, _ in group],
        "notes": [NOTE, *_bank_notes(rows), *lost],
    }


def _bank_notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence for each method that was served from a bank: what one tenant takes."""
    sizes = {row["method"]: row["bytes_per_tenant"] for row in rows if row["bytes_per_tenant"]}
    return [
        f"Each tenant of {method} takes {size / 2**20:.2f} MiB beside the backbone."
        for method, size in sizes.items()
    ]


def _measure(
    comparison: Comparison,
    chosen: Sequence[Entry],
    recorder: Recorder,
    machine: Mapping[str, Any],
    device: str,
    stale: Sequence[Path],
    tell: Callable[[str], None],
) -> None:
    """Measure, and write each record when its turn is over; the first takes away those of earlier runs."""
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
    _check_positions(comparison, backbone, items)
    started = now()
    limit = {
        "bandwidth_bytes_per_second": meter.bandwidth(backbone.device),
        "step_bytes": meter.read_bytes(backbone.model),
    }
    setting = Setting(
        backbone=backbone,
        limit=limit,
        environment=machine,
        started=started,
    )
    taken = turns(
        backbone,
        chosen,
        items,
        count=request.repeats,
        warmup=request.warmup,
        seed=request.seed,
        tell=tell,
    )
    for number, (repeat, entry, turn) in enumerate(taken):
        if number == 0:
            for path in stale:
                path.unlink(missing_ok=True)
        recorder.write(entry, repeat, turn, setting)


def _check_positions(
    comparison: Comparison, backbone: LoadedBackbone, items: Sequence[Item]
) -> None:
    """Require that every sequence of the workload fits into the backbone's positions.

    Raises:
        ConfigError: If one does not.
    """
    positions = backbone.shape.max_positions
    methods = [one for one in comparison.methods.values() if one is not None]
    taken = max((one.num_positions for one in methods), default=0)
    longest = max((len(one.ids) for one in items), default=0)
    longest += max((one.new_tokens for one in items), default=0)
    if positions is not None and longest + taken > positions:
        raise ConfigError(
            f"the longest prompt and answer must fit into the {positions} positions of backbone "
            f"{backbone.name!r}, got {longest} tokens and {taken} virtual tokens: set prompt_tokens or "
            "new_tokens lower."
        )


def _is_whole(paths: Sequence[Path]) -> bool:
    """Whether all of these records are there and finished, and of one run."""
    if not all(path.is_file() for path in paths):
        return False
    read = [records.read(path) for path in paths]
    return all(one.status == "finished" for one in read) and len({one.started for one in read}) == 1
