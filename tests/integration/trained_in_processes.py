"""Train a tiny backbone in one of several processes; run by `test_processes.py` through torchrun.

torchrun --nproc-per-node=2 trained_in_processes.py CHECKPOINT_FOLDER METHOD WORK_FOLDER
"""

import os
import sys
from pathlib import Path

import torch
from killed_training import train_once

from pedro_bench.backbones.pretrained import Pretrained

torch.set_num_threads(1)
backbone = Pretrained(name="tiny", label="tiny", path=sys.argv[1]).load(device="cpu")
outcome = f"outcome-{os.environ['RANK']}.json"
train_once(backbone, sys.argv[2], Path(sys.argv[3]), outcome)
