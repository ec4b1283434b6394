"""Compare: the composition root of a measurement: built objects in, records and rows out.

Each system leaves one record for each repeat, in the schema of every other run, so `cli.tables` makes
Table 3 of them: methods are rows, `generate_beam1` and `generate_beam3` columns, the median over repeats.
A record is written as soon as its turn is over, so a command that is stopped leaves its finished turns. A
ratio means something only within one run: either all records of a comparison are there, of one run, or all
are measured anew, and the first new one takes away the old ones. What does not fit into memory leaves a
failed record and no row.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedro_bench import records
from pedro_bench.efficiency import meter, systems
from pedro_bench.efficiency.measure import turns
from pedro_bench.efficiency.recording import NOTE, Recorder, Setting, comparison_key, environment
from pedro_bench.efficiency.request import Item, Request, drawn
from pedro_bench.efficiency.systems import System, systems_of
from pedro_bench.errors import ConfigError, TrainingError
from pedro_bench.protocols.backbone import Backbone, LoadedBackbone
from pedro_bench.protocols.method import Method
from pedro_bench.records import RunRecord, packing
from pedro_bench.runs.environment import now, resolve_device
from pedro_bench.serving import AdapterBank


def row_of(found: Sequence[RunRecord]) -> dict[str, Any]:
    """Return one system's medians over its finished records, the spread of its speed, and each repeat's."""
    speeds = {str(one.seed): float(one.metrics["test"]["tokens_per_second"]) for one in found}

    def middle(name: str) -> float:
        return float(statistics.median(one.timing[name] for one in found))

    return {
        "method": found[0].method,
        **found[0].config["system"],
        "tokens_per_second": float(statistics.median(speeds.values())),
        "slowest": min(speeds.values()),
        "fastest": max(speeds.values()),
        "first_token_seconds": middle("first_token_seconds"),
        "seconds_per_token": middle("step_seconds"),
        "bandwidth_share": middle("bandwidth_share"),
        "peak_bytes": _bytes(found, "peak_bytes"),
        "reserved_bytes": _bytes(found, "reserved_bytes"),
        "bytes_per_tenant": _bytes(found, "bytes_per_tenant"),
        "repeats": len(found),
        "speeds": speeds,
        "processor_seconds": {str(one.seed): one.timing["processor_seconds"] for one in found},
    }


def ratio(above: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the ratio of two rows' speeds: the median over pairs of repeats.

    Turns go forwards in repeats 0, 2, … and backwards in 1, 3, …, so repeats 0 and 1, 2 and 3, … make
    pairs. A pair's ratio is the geometric mean of the ratios within its two repeats: who is faster only
    because its turn comes first gains in one what it loses in the other. A repeat without its other half
    counts as it is.

    Args:
        above: The row above the line.
        below: The row below it.

    Returns:
        `ratio`, its `lowest` and `highest` value over pairs, their number `pairs`, `interval`: where the
        median lies with 95% confidence (None below six pairs), and `of_processor_time`: the ratio by the
        process's processor time. None if the rows share no repeat: memory or time may end a row early.
    """
    shared = [repeat for repeat in above["speeds"] if repeat in below["speeds"]]
    if not shared:
        return None
    ratios = _paired(
        {repeat: above["speeds"][repeat] / below["speeds"][repeat] for repeat in shared}
    )
    times = _paired(
        {
            repeat: below["processor_seconds"][repeat] / above["processor_seconds"][repeat]
            for repeat in shared
        }
    )
    return {
        "ratio": statistics.median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "pairs": len(ratios),
        "interval": _interval(ratios),
        "of_processor_time": statistics.median(times),
    }


def rows_since(results_dir: str, suite: str, started: str) -> list[dict[str, Any]]:
    """Return rows of a suite's comparisons that began at a time (ISO 8601, UTC) or later, whole or not."""
    read = [records.read(path) for path in records.find(results_dir, suite)]
    groups: dict[tuple[str, str, str], list[RunRecord]] = {}
    for one in read:
        if one.status == "finished" and one.started >= started:
            groups.setdefault((one.key, one.method, one.task), []).append(one)
    return [row_of(group) for group in groups.values()]


def _paired(ratios: Mapping[str, float]) -> list[float]:
    """Return the geometric mean of each pair of neighbouring repeats, by the repeats' numbers."""
    pairs: dict[int, list[float]] = {}
    for repeat, one in ratios.items():
        pairs.setdefault(int(repeat) // 2, []).append(one)
    return [statistics.geometric_mean(pair) for _, pair in sorted(pairs.items())]


def _interval(values: Sequence[float]) -> list[float] | None:
    """Return the two values between which a sign test puts the median at 95%; None where there are none."""
    ordered, count = sorted(values), len(values)
    left_out, tail = 0, 0.0
    while (tail := tail + math.comb(count, left_out) / 2**count) <= 0.025:
        left_out += 1
    return [ordered[left_out - 1], ordered[count - left_out]] if left_out else None


def _bytes(found: Sequence[RunRecord], name: str) -> int | None:
    """Return the median of a field of memory; None where it is not known."""
    known = [int(one.memory[name]) for one in found if one.memory.get(name) is not None]
    return int(statistics.median(known)) if known else None


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


def compare(comparison: Comparison, report: Callable[[str], None]) -> dict[str, Any]:
    """Measure, or read what was measured; return rows, device, bandwidth and paths of records.

    `notes` says which systems did not fit into memory; `records` are those that the rows are made of;
    `started` is when they were measured.

    Raises:
        PedroBenchError: If a method does not fit the backbone or cannot serve tenants, or memory
            is short for every system.
    """
    request = comparison.request
    chosen = systems_of(comparison.methods, request)
    if any(system.name == systems.PEER for system in chosen):
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
        [recorder.path(system, repeat) for repeat in range(request.repeats)] for system in chosen
    ]
    every = [path for group in paths for path in group]
    if comparison.rerun or not _is_whole(every):
        _measure(comparison, chosen, recorder, machine, device, every, report)
    else:
        first = records.read(every[0])
        report(
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
    chosen: Sequence[System],
    recorder: Recorder,
    machine: Mapping[str, Any],
    device: str,
    stale: Sequence[Path],
    report: Callable[[str], None],
) -> None:
    """Measure, and write each record when its turn is over; the first takes away those of earlier runs."""
    request = comparison.request
    backbone = comparison.backbone.load(device=device)
    for method in comparison.methods.values():
        if request.tenants and method is not None:
            # What does not fit raises before anything is measured.
            with systems.seeded(backbone.device, request.seed):
                AdapterBank(backbone, systems.after_search(backbone, method)).close()
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
        report=report,
    )
    for number, (repeat, system, turn) in enumerate(taken):
        if number == 0:
            if any(records.exists(path) and not path.is_file() for path in stale):
                packing.unpack(comparison.results_dir, request.suite)
            for path in stale:
                path.unlink(missing_ok=True)
        recorder.write(system, repeat, turn, setting)


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
    if not all(map(records.exists, paths)):
        return False
    read = [records.read(path) for path in paths]
    return all(one.status == "finished" for one in read) and len({one.started for one in read}) == 1
