"""Two processes that share every optimiser batch train like one, and only the first writes."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pedro_bench import records
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.grid import plan
from pedro_bench.grid.claims import Claims
from pedro_bench.grid.occupied import occupying
from pedro_bench.grid.planning import SeedRun
from pedro_bench.grid.snapshot import RecordSnapshot
from tests.integration.grids import REPOSITORY, arguments, environment, finish, start, write_sst2

SCRIPT = Path(__file__).with_name("trained_in_processes.py")
DDP, FSDP = ("--multi_gpu",), ("--use_fsdp", "--fsdp_version=2")
"""Switches of `accelerate launch`; with --cpu it would start one process, whatever number it is given."""


def history(tiny: Path, folder: Path, num_processes: int) -> list[dict[str, Any]]:
    folder.mkdir()
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={num_processes}"]
    meeting = ["--rdzv-backend=c10d", "--rdzv-endpoint=127.0.0.1:0"]
    done = subprocess.run(
        [*launch, *meeting, str(SCRIPT), str(tiny), "pedro", str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": str(SCRIPT.parent.parent.parent),
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        },
    )
    assert done.returncode == 0, done.stderr
    outcomes = [
        json.loads((folder / f"outcome-{rank}.json").read_text()) for rank in range(num_processes)
    ]
    assert all(outcome["adapter"] == outcomes[0]["adapter"] for outcome in outcomes)
    found: list[dict[str, Any]] = outcomes[0]["result"]["history"]
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_train_like_one(tiny_folders: dict[str, Path], tmp_path: Path) -> None:
    one = history(tiny_folders["llama"], tmp_path / "one", 1)
    two = history(tiny_folders["llama"], tmp_path / "two", 2)
    for ours, theirs in zip(two, one, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)


def launched(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `accelerate launch COMMAND` on the CPU, with gloo between the processes."""
    folder.mkdir()
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines=1"]
    plain = ["--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=0"]
    return subprocess.run(
        [*launch, *plain, *command],
        cwd=folder,
        env=environment(ACCELERATE_USE_CPU="true"),
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("splitting", [DDP, FSDP], ids=["ddp", "fsdp"])
@pytest.mark.parametrize("method", ["lora", "pedro"])
def test_a_launched_command_of_two_processes_records_what_one_does(
    method: str, splitting: tuple[str, ...], tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    data = write_sst2(tmp_path / "data")
    uneven = ["trainer.batch_size=5", "trainer.micro_batch_size=2", "trainer.eval_batch_size=3"]
    overrides = arguments(tiny_folders["llama"], data, f"method={method}", *uneven)
    module = ("-m", "pedro_bench", *overrides)
    two = launched(tmp_path / "two", "--num_processes=2", *splitting, *module)
    assert two.returncode == 0, two.stderr
    code, output, errors = finish(start(tmp_path, *overrides))
    assert code == 0, errors
    [ours], [theirs] = (json.loads(text)["runs"] for text in (two.stdout, output))
    assert ours["key"] == theirs["key"]
    assert (ours["environment"]["processes"], theirs["environment"]["processes"]) == (2, 1)
    assert ours["shares"] == (2 if splitting == FSDP else 1)
    assert ours["best_step"] == theirs["best_step"]
    for entry, expected in zip(ours["history"], theirs["history"], strict=True):
        assert entry == pytest.approx(expected, rel=1e-4)
    assert len(records.find(tmp_path / "two" / "results")) == 1
    assert not list(tmp_path.rglob("*.part"))
    assert not list((tmp_path / "two" / "results").rglob("leases"))


FAILING = """
import os
from dataclasses import dataclass

from pedro_bench.methods.lora import Lora


@dataclass(frozen=True, kw_only=True)
class Failing(Lora):
    def after_step(self, adapter, step, num_steps):
        if os.environ["RANK"] == "FIRST":
            raise MemoryError("in this process alone")
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.fault(
    what="One of several processes of a run fails",
    how="MemoryError after a step in the first, then in the second of two processes (gloo)",
    lost="nothing: the command ends in all of them, and the record says why it failed",
)
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_failure_in_one_process_ends_all(
    rank: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "mine"
    (folder / "method").mkdir(parents=True)
    (folder / "failing.py").write_text(FAILING.replace("FIRST", rank))
    lora = (REPOSITORY / "conf" / "method" / "lora.yaml").read_text(encoding="utf-8")
    own = lora.replace("pedro_bench.methods.lora.Lora", "failing.Failing").replace(
        ": lora", ": failing"
    )
    (folder / "method" / "failing.yaml").write_text(own)
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"), "seeds=[0,1]")
    module = ("-m", "pedro_bench", "--config-dir", str(folder), *overrides, "method=failing")
    done = launched(tmp_path / "two", "--num_processes=2", *DDP, *module)
    assert done.returncode != 0
    assert "training must fit into memory, got out of memory at step" in done.stderr
    (path,) = records.find(tmp_path / "two" / "results")
    record = records.read(path)
    assert record.status == "failed"
    reason = "training must fit into memory, got out of memory at step"
    assert (record.error or "").startswith(reason if rank == "0" else f"in process 1, {reason}")
    assert not list((tmp_path / "two" / "outputs").rglob("failed-process-*"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_training_the_backbone_itself_is_refused_where_its_layers_are_split(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    data = write_sst2(tmp_path / "data")
    overrides = arguments(tiny_folders["llama"], data, "method=full_ft")
    module = ("-m", "pedro_bench", *overrides)
    done = launched(tmp_path / "two", "--num_processes=2", *FSDP, *module)
    assert done.returncode != 0
    assert "must be whole in every process, got layers split by FSDP" in done.stderr
    assert not records.find(tmp_path / "two" / "results")


LEFTOVERS = {
    "RANK": "1",
    "LOCAL_RANK": "one",
    "WORLD_SIZE": "",
    "MASTER_ADDR": "nowhere.invalid",
    "PMI_SIZE": "2",
    "PMI_RANK": "1",
    "OMPI_COMM_WORLD_SIZE": "2",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "ACCELERATE_USE_CPU": "perhaps",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_DYNAMO_BACKEND": "x",
}
"""Single variables of launchers, as clusters, notebooks and shells leave them behind."""

LOADED = """
import sys, pedro_bench
run = pedro_bench.load(sys.argv[1], device="cpu")
print(len(run.generate(["a good film"], max_new_tokens=2)))
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stale_variables_of_launchers_change_nothing(
    tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    code, output, errors = finish(start(tmp_path, *overrides, **LEFTOVERS))
    assert code == 0, errors
    (run,) = json.loads(output)["runs"]
    assert (run["status"], run["environment"]["processes"]) == ("finished", 1)
    (path,) = records.find(tmp_path / "results")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(path)],
        cwd=tmp_path,
        env=environment(**LEFTOVERS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "1\n", done.stderr


def meeting_of_two() -> dict[str, str]:
    """Return what a launcher gives two processes, but for their ranks."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    return {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def waiting(tiny: Path, folder: Path, rank: int, *more: str) -> subprocess.Popen[str]:
    """Start one of two processes of a launcher, whose other never comes."""
    overrides = arguments(tiny, write_sst2(folder / "data"), *more)
    return start(folder, *overrides, RANK=str(rank), LOCAL_RANK=str(rank), **meeting_of_two())


@pytest.mark.timeout(600)
def test_what_the_main_process_cannot_begin_ends_every_process_with_the_same_sentence(
    tiny_folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that no launcher watches, as those of srun, would wait for the main one."""
    monkeypatch.chdir(tmp_path)
    overrides = arguments(tiny_folders["llama"], write_sst2(tmp_path / "data"))
    settings = settings_of([*overrides, "results_dir=others"])
    [(seed, path, _)] = plan(settings)
    held = Claims(settings, [SeedRun(seed, path)], RecordSnapshot({}))
    assert list(occupying(settings, [next(held)])) == [(seed, path)]
    meeting = meeting_of_two() | {"ACCELERATE_USE_CPU": "true"}
    both = [
        start(tmp_path, *overrides, RANK=str(rank), LOCAL_RANK=str(rank), **meeting)
        for rank in range(2)
    ]
    ends = [finish(process, 400) for process in both]
    held.give_back()  # else it would be missed where the next test is, and this process asked to leave
    assert [code for code, *_ in ends] == [2, 2], ends
    told = [errors.splitlines()[-1] for *_, errors in ends]
    assert told[0].startswith("error: output_dir must be of one results_dir while a run is trained")
    assert told[1] == told[0]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("rank", "missing"), [(0, "got 1 without rank 1"), (1, "got no answer from rank 0")]
)
def test_a_process_whose_others_do_not_come_says_who_is_missing(
    rank: int, missing: str, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = waiting(tiny_folders["llama"], tmp_path, rank, "meeting_seconds=2")
    code, output, errors = finish(process)
    assert (code, output) == (2, "")
    assert errors.startswith("error: all 2 processes must meet at 127.0.0.1:")
    assert missing in errors
    assert errors.count("\n") == 1
    assert [one.name for one in tmp_path.iterdir()] == ["data"]


def processor_time(pid: int) -> int:
    """Tenths of a second of a core that a process has taken; waiting with a poll now and then takes fewer."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = int(fields[11]) + int(fields[12])
    return ticks // (os.sysconf("SC_CLK_TCK") // 10)


@pytest.mark.timeout(300)
@pytest.mark.fault(
    what="A signal while processes wait for each other",
    how="SIGTERM or Ctrl-C to one of two processes of a launcher whose other never comes",
    lost="nothing: it ends at once, exit code 143 or 130",
)
@pytest.mark.parametrize(("kind", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_waiting_for_other_processes(
    kind: signal.Signals, expected: int, tiny_folders: dict[str, Path], tmp_path: Path
) -> None:
    process = waiting(tiny_folders["llama"], tmp_path, 1, "meeting_seconds=600")
    while "torch/lib" not in Path(f"/proc/{process.pid}/maps").read_text():
        time.sleep(0.1)
    before = None
    while (after := processor_time(process.pid)) != before:  # until it waits
        before = after
        time.sleep(3)
    process.send_signal(kind)
    code, _, errors = finish(process, 60)
    assert code == expected
    assert errors == "interrupted: the same command goes on where this one stopped.\n"


@pytest.mark.parametrize(
    "name",
    ["ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_MEGATRON_LM", "FSDP_OFFLOAD_PARAMS"],
)
def test_other_ways_of_splitting_are_refused(tmp_path: Path, name: str) -> None:
    """What `accelerate launch --use_deepspeed` and its like set in every process."""
    own = ["task=boolq", "data=micro", "backbone=micro", "method=lora", "trainer=micro"]
    split = start(tmp_path, *own, **{name: "true"})
    code, _, errors = finish(split)
    assert code == 2
    assert errors.startswith("error: accelerate launch must start plain processes")
    assert f"got {name}=true" in errors
    assert list(tmp_path.iterdir()) == []
