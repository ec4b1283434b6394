"""A grid: configurations with the runs that are due, as every worker of one command sees them.

    <output_dir>/multirun/<time>-<process>-<random>/
        grid.json         the grid, for workers in processes of their own
        error-<n>.json    what kept configuration n from being run at all
        ended-<…>.json    why a worker was given up
        stop.json         with fail_fast: a run failed, so no other begins
        leave.json        the command was asked to end

What else workers know of each other stands in leases and records. The folder goes with the command, but for
that of a launcher whose workers may outlive the command (Slurm, Ray).
"""

import contextlib
import json
import math
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pedro_bench import files, records
from pedro_bench.distributed import is_main
from pedro_bench.errors import ConfigError, PedroBenchError, RecordError, sentence
from pedro_bench.grid.leases import LEASES_FOLDER, Leases
from pedro_bench.grid.occupied import vacate
from pedro_bench.grid.planning import SeedRun, due_runs, seed_runs, with_status
from pedro_bench.grid.snapshot import RecordSnapshot
from pedro_bench.protocols.settings import WORK_KEYS, Settings, build_settings
from pedro_bench.records import record_at, status_of
from pedro_bench.runs.environment import kind_of_device, resolve_device
from pedro_bench.training.saved_folder import restart, steps_saved, working_folder


def clear_stale_files(settings: Settings, paths: Iterable[Path]) -> None:
    """Remove leases and checkpoints that killed workers left of those of the runs that are finished."""
    suite = records.suite_folder(settings.results_dir, settings.suite)
    leases = Leases(suite, settings.lease_seconds)
    stems = leases.leased_stems()
    for path in paths:
        if path.stem not in stems or status_of(path) != "finished":
            continue
        with contextlib.suppress(OSError, RecordError):  # a read-only folder: it stays as it is
            _clear(settings, leases, path)


def _clear(settings: Settings, leases: Leases, path: Path) -> None:
    """Hold the run meanwhile: another worker may be about to do it again."""
    lease = leases.take(path.stem)
    if lease is None:
        return
    is_finished = status_of(path) == "finished"
    try:
        vacate(settings, path)
        if is_finished and not settings.keep_checkpoints:
            restart(working_folder(settings, path))
    finally:
        lease.release(is_done=is_finished)


BUDGET = "budget"
"""Part of a resolved configuration that says how its size was found; it builds nothing."""


@dataclass(frozen=True)
class Configuration:
    """One configuration of a grid.

    Attributes:
        settings: Its settings.
        overrides: What separates it from the others, as shown.
        runs: The runs of all its seeds.
        due: Those of them that were due when the command began.
        kind: Kind of device where the command was started, which stands in the runs' key.
    """

    settings: Settings
    overrides: tuple[str, ...]
    runs: tuple[SeedRun, ...]
    due: tuple[SeedRun, ...]
    kind: str

    def check_device(self) -> None:
        """Require a device of the kind that stands in the key, on the machine of this worker.

        Raises:
            ConfigError: If `device=auto` is of another kind here than where the command was started.
        """
        here = kind_of_device(self.settings.device)
        if here != self.kind:
            raise ConfigError(
                "device must name a kind where workers' machines differ from the command's, since keys hold "
                f"it, got {self.settings.device!r}, which is {self.kind} there and {here} on "
                f"{socket.gethostname()}: set device={here} or device={self.kind}."
            )


class Grid:
    """The runs of one command; its folder exists only where workers share it.

    Attributes:
        configurations: All of them, those without a due run too.
        snapshot: The records of all runs when the command began.
    """

    def __init__(
        self, configurations: Sequence[Configuration], snapshot: RecordSnapshot, folder: Path
    ) -> None:
        self.configurations, self.snapshot, self.folder = tuple(configurations), snapshot, folder
        self.name = ""
        self._absent: list[Path] = []
        self._left = {
            run.record: number for number, one in enumerate(configurations) for run in one.due
        }

    @classmethod
    def planned(cls, given: Iterable[tuple[tuple[str, ...], Settings]]) -> "Grid":
        """Plan configurations, each given with what separates it from the others.

        Raises:
            PedroBenchError: If data, backbone or a record cannot be read, a backbone has the name of
                another, or runs are due on a device that this machine's PyTorch cannot use.
        """
        configurations: list[Configuration] = []
        digests: dict[str, str] = {}
        for overrides, settings in given:
            settings.backbone.check_name()
            runs = seed_runs(settings)
            # Before their status is read, so that what changes later is seen.
            digests |= RecordSnapshot.of(run.record for run in runs).digests
            due = due_runs(settings, with_status(runs))
            if due:
                resolve_device(settings.device)
            kind = kind_of_device(settings.device)
            configurations.append(Configuration(settings, overrides, tuple(runs), tuple(due), kind))
        moment = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{secrets.token_hex(4)}"
        output = Path(configurations[0].settings.output_dir) if configurations else Path()
        snapshot = RecordSnapshot(digests)
        grid = cls(configurations, snapshot, (output / "multirun" / moment).absolute())
        grid._absent = _absent(configurations)
        return grid

    def share(self, **more: Any) -> None:
        """Write the grid for workers in processes of their own.

        Args:
            **more: Plain values for `shared`.
        """
        self.name = f"{socket.gethostname()} {self.folder.name}"
        configurations = []
        for one in self.configurations:
            work = {key: getattr(one.settings, key) for key in WORK_KEYS}
            config: dict[str, Any] = {**one.settings.resolved_config, **work}
            due = [[run.seed, str(run.record)] for run in one.due]
            configurations.append({"config": config, "due": due, "kind": one.kind})
        digests = self.snapshot.digests
        seen = {str(path.absolute()): digests.get(str(path.absolute())) for path in self.paths}
        content = {"name": self.name, "more": more, "seen": seen, "configurations": configurations}
        self._note("grid", content)

    @staticmethod
    def shared(folder: Path) -> dict[str, Any]:
        """Return what `share` was given."""
        more: dict[str, Any] = _read(folder, "grid")["more"]
        return more

    @classmethod
    def read(cls, folder: Path) -> "Grid":
        """Return the grid that a command shares in a folder."""
        content = _read(folder, "grid")
        configurations = []
        for one in content["configurations"]:
            due = tuple(SeedRun(seed, Path(path)) for seed, path in one["due"])
            settings = settings_again(one["config"])
            configurations.append(Configuration(settings, (), due, due, one["kind"]))
        digests = {path: digest for path, digest in content["seen"].items() if digest}
        grid = cls(configurations, RecordSnapshot(digests), folder)
        grid.name = content["name"]
        return grid

    @property
    def paths(self) -> Iterator[Path]:
        """The records of all due runs."""
        return (run.record for one in self.configurations for run in one.due)

    def keep_error(self, number: int, error: Exception) -> None:
        """Keep what went wrong with a configuration; no worker tries it again."""
        exit_code = error.exit_code if isinstance(error, PedroBenchError) else 1
        self._note(f"error-{number}", [sentence(error), exit_code])

    def error(self, number: int) -> PedroBenchError | None:
        """Return what went wrong with a configuration, before any of its runs could be recorded."""
        if not (self.folder / f"error-{number}.json").is_file():
            return None
        text, exit_code = _read(self.folder, f"error-{number}")
        error = PedroBenchError(text)
        error.exit_code = exit_code
        return error

    def stop(self) -> None:
        """Let no other run begin."""
        self._note("stop", True)

    def leave(self) -> None:
        """Ask all workers to save and end."""
        self._note("leave", True)

    @property
    def is_stopped(self) -> bool:
        """Whether no other run shall begin."""
        return (self.folder / "stop.json").exists() or self.is_left

    @property
    def is_left(self) -> bool:
        """Whether the command was asked to end."""
        return (self.folder / "leave.json").exists()

    def give_up(self, worker: str, reason: str) -> None:
        """Keep why a worker ended that is not to be replaced."""
        self._note(f"ended-{worker}", reason)

    @property
    def given_up(self) -> list[str]:
        """Why workers were given up, one sentence each."""
        return [_read(self.folder, path.stem) for path in sorted(self.folder.glob("ended-*"))]

    def look(self, most: float = math.inf) -> tuple[int, set[str]]:
        """Return how many runs are left that nobody holds, and by whom the others are held.

        Args:
            most: So many are enough to know of.
        """
        if self.is_stopped:
            self._left = {}
        traces = {folder: leases.leased_stems() for folder, leases in self._leases.items()}
        known = [path for path in self._left if path.stem in traces[path.parent]]
        held = [path for path in known if self._leases[path.parent].is_held(path.stem)]
        holders = {self._leases[path.parent].holder_name(path.stem) or "" for path in held}
        free = 0
        for path, number in list(self._left.items()):
            if free > most:
                break
            if path in held:
                continue
            if self.snapshot.has_ended_since(path) or self.error(number) is not None:
                del self._left[path]
                continue
            if path in known:
                self._leases[path.parent].free_if_dead(path.stem, self._steps(path))
            free += 1
        return free, holders

    def holders(self) -> set[str]:
        """Return who holds runs of this grid's suites now; who is known to be dead is left out."""
        return {one for leases in self._leases.values() for one in leases.living_holders()}

    @property
    def progress(self) -> tuple[int, int]:
        """How far the grid is: runs that are over, and steps in the checkpoints of the others."""
        return -len(self._left), sum(map(self._steps, self._left))

    def records(self, number: int) -> list[dict[str, Any]]:
        """Return the records of a configuration that are there, in order of the seeds."""
        found = (record_at(run.record) for run in self.configurations[number].runs)
        return [record.as_dict() for record in found if record is not None]

    def _steps(self, path: Path) -> int:
        settings = self.configurations[self._left[path]].settings
        return steps_saved(working_folder(settings, path))

    def clear_stale_files(self) -> None:
        """Remove what killed workers left of finished runs."""
        if is_main():
            for one in self.configurations:
                clear_stale_files(one.settings, [run.record for run in one.runs])

    def remove(self) -> None:
        """Remove the command's folder, if there is one, and those above it that hold nothing else.

        Folders of its runs go too where they were made meanwhile and are empty, as after an interrupt.
        """
        shutil.rmtree(self.folder, ignore_errors=True)
        for folder in self._absent:
            with contextlib.suppress(OSError):  # something lies there, or nobody made it
                folder.rmdir()
        with contextlib.suppress(OSError):  # there is none, or another command's is beside it
            self.folder.parent.rmdir()
            self.folder.parents[1].rmdir()

    @cached_property
    def _leases(self) -> dict[Path, Leases]:
        seconds = {
            path.parent: self.configurations[number].settings.lease_seconds
            for path, number in self._left.items()
        }
        return {folder: Leases(folder, own, command=self.name) for folder, own in seconds.items()}

    def _note(self, name: str, content: Any) -> None:
        files.write_text(self.folder / f"{name}.json", json.dumps(content) + "\n")


def _absent(configurations: Iterable[Configuration]) -> list[Path]:
    """Return the folders of due runs, and those above them, that are not there; inner ones first."""
    found: set[Path] = set()
    for one in configurations:
        for run in one.due:
            leases = run.record.parent / LEASES_FOLDER
            for folder in (leases, working_folder(one.settings, run.record)):
                place = folder.absolute()
                while place not in found and not place.exists():
                    found.add(place)
                    place = place.parent
    return sorted(found, key=lambda place: len(place.parts), reverse=True)


def _read(folder: Path, name: str) -> Any:
    return json.loads(files.read_bytes(folder / f"{name}.json"))


def settings_again(config: Mapping[str, Any]) -> Settings:
    """Build settings from a resolved configuration, in which a budget may say how a size was found.

    Args:
        config: `Settings.resolved_config`, values of it changed or not, with any of WORK_KEYS.
    """
    settings = build_settings({key: value for key, value in config.items() if key != BUDGET})
    if BUDGET not in config:
        return settings
    return replace(settings, resolved_config={**settings.resolved_config, BUDGET: config[BUDGET]})
