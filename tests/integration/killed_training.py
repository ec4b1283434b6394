"""Train a tiny backbone in processes that are killed again and again; run by `test_resume.py`.

    python killed_training.py CHECKPOINT_FOLDER METHOD WORK_FOLDER

Every attempt is a process of its own that SIGKILL ends: after a random time, or in the middle of
writing a checkpoint (at a random flush to the disk). The output tells how many were killed.
PEDRO_BENCH_SEED decides the choices.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from pedro_bench.backbones.pretrained import Pretrained
from pedro_bench.methods.lora import Lora
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import LoadedBackbone
from pedro_bench.protocols.batch import Encoded
from pedro_bench.seeding import seed_torch
from pedro_bench.training.config import TrainerConfig
from pedro_bench.training.trainer import train

CONF = Path(__file__).parent.parent.parent / "conf"
PROTOCOL = TrainerConfig(
    lr=2e-2, max_steps=20, batch_size=8, eval_every_steps=5, checkpoint_every_steps=2, patience=3
)
CHANGES: dict[str, dict[str, Any]] = {
    "lora": {"dropout": 0.2},
    "full_ft": {"lr": 1e-3},
    "prefix_tuning": {"num_virtual_tokens": 4, "encoder_hidden_size": 16, "dropout": 0.2},
    "adalora": {"dropout": 0.2, "deltaT": 3},
}
MOST_ATTEMPTS = 60


@dataclass(frozen=True, kw_only=True)
class Averaging(Lora):
    """A method with state of its own beside its parameters, as AdaLoRA has, that moves them."""

    def after_step(self, adapter: nn.Module, step: int, num_steps: int) -> None:
        averages = adapter.__dict__.setdefault("averages", {})
        for name, parameter in adapter.named_parameters():
            old = averages.get(name, torch.zeros_like(parameter))
            averages[name] = 0.7 * old + 0.3 * parameter.detach()
            parameter.data.lerp_(averages[name], 0.1)

    def runtime_state(self, adapter: nn.Module) -> dict[str, Tensor]:
        return dict(adapter.__dict__.get("averages", {}))

    def load_runtime_state(self, adapter: nn.Module, state: Mapping[str, Tensor]) -> None:
        adapter.__dict__["averages"] = {name: tensor.clone() for name, tensor in state.items()}


def build(name: str) -> Any:
    if name == "averaging":
        roles = ("query", "value")
        return Averaging(name=name, label=name, r=2, alpha=4.0, dropout=0.1, roles=roles)
    config = OmegaConf.load(CONF / "method" / f"{name}.yaml")
    return instantiate(OmegaConf.merge(config, CHANGES.get(name, {})), _convert_="all")


def rows(count: int, seed: int) -> list[Encoded]:
    generator = random.Random(seed)
    made = []
    for index in range(count):
        prompt = [generator.randrange(4, 40) for _ in range(generator.randrange(3, 9))]
        made.append(Encoded((1, *prompt), (prompt[0], 2), index))
    return made


def train_once(
    backbone: LoadedBackbone, method: str, folder: Path, outcome: str = "outcome.json"
) -> None:
    seed_torch(0, "init")
    adapted = AdaptedModel(backbone, build(method))
    result = train(
        adapted,
        train=rows(36, 1),
        dev=rows(9, 2),
        config=PROTOCOL,
        official_train_rows=36,
        seed=0,
        key="key",
        folder=folder,
    )
    own = {name: tensor.tolist() for name, tensor in adapted.adapter_state().items()}
    text = json.dumps({"result": asdict(result), "adapter": own}, default=str)
    unfinished = folder / f"{outcome}.unfinished"  # a kill may come here, too
    unfinished.write_text(text)
    unfinished.rename(folder / outcome)


def die_while_writing(flushes: int) -> None:
    """Let this process kill itself at a flush to the disk, in the middle of a checkpoint."""
    left = iter(range(flushes, -1, -1))
    flush = os.fsync

    def count(descriptor: int) -> None:
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    os.fsync = count


def attempt(
    arguments: tuple[LoadedBackbone, str, Path], flushes: int | None, seconds: float | None
) -> int:
    """Run one process; return its wait status."""
    child = os.fork()
    if child == 0:
        if flushes is not None:
            die_while_writing(flushes)
        train_once(*arguments)
        os._exit(0)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def main(checkpoint: str, method: str, work: Path) -> None:
    torch.set_num_threads(1)
    # Loaded once: every attempt is a fork that finds it in memory, untouched.
    backbone = Pretrained(name="tiny", label="tiny", path=checkpoint).load(device="cpu")
    started = time.perf_counter()
    (work / "whole").mkdir()
    if attempt((backbone, method, work / "whole"), None, None) != 0:
        sys.exit("the uninterrupted run failed")
    needed = time.perf_counter() - started
    (work / "killed").mkdir()
    choose = random.Random(int(os.environ["PEDRO_BENCH_SEED"]))
    arguments = (backbone, method, work / "killed")
    num_killed = 0
    while not (work / "killed" / "outcome.json").exists():
        # Not before there is a checkpoint: what comes through shall have gone on from one.
        by_time = (
            num_killed >= 2 and num_killed % 2 == 0 and any(arguments[2].rglob("checkpoint-*"))
        )
        flushes = None if by_time else choose.randrange(40)
        seconds = needed * choose.uniform(0.1, 0.6) if by_time else None
        if num_killed == MOST_ATTEMPTS:
            flushes = seconds = None
        status = attempt(arguments, flushes, seconds)
        is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        if not (is_killed or status == 0):
            sys.exit(f"a restarted run failed with status {status}")
        num_killed += is_killed
    sys.stdout.write(json.dumps({"killed": num_killed}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
