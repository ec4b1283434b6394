"""An installed wheel trains PEDRO through peft in one process and loads it in a second one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PIP = [sys.executable, "-m", "pip"]

TRAINING = """
import sys, peft, torch, transformers, pedro_bench.integrations.peft as types
torch.manual_seed(0)
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = peft.get_peft_model(model, types.PedroConfig(r=4, task_type="CAUSAL_LM"))
ids = torch.tensor([[1, 5, 6, 7, 8, 9, 2]])
optimiser = torch.optim.AdamW([one for one in model.parameters() if one.requires_grad], lr=0.02)
for _ in range(20):
    model(input_ids=ids, labels=torch.where(torch.arange(7) < 4, -100, ids)).loss.backward()
    optimiser.step(), optimiser.zero_grad()
model.save_pretrained(sys.argv[2])
print(model.eval().generate(input_ids=ids[:, :4], max_new_tokens=16, do_sample=False).tolist())
"""

LOADING = """
import sys, peft, torch, pedro_bench.integrations.peft
model = peft.AutoPeftModelForCausalLM.from_pretrained(sys.argv[2])
ids = torch.tensor([[1, 5, 6, 7]])
print(model.generate(input_ids=ids, max_new_tokens=16, do_sample=False).tolist())
"""


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_processes_generate_the_same_tokens(
    tmp_path: Path, tiny_folders: dict[str, Path]
) -> None:
    build = [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", str(tmp_path)]
    subprocess.run([*build, str(REPOSITORY)], check=True)
    (wheel,) = tmp_path.glob("pedro_bench-*.whl")
    place = tmp_path / "installed"
    subprocess.run(
        [*PIP, "install", "--quiet", "--no-deps", "--no-index", "-t", str(place), str(wheel)],
        check=True,
    )
    texts = []
    for code in (TRAINING, LOADING):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tiny_folders["llama"]), str(tmp_path / "adapter")],
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(place)},
        )
        texts.append(done.stdout.splitlines()[-1])
    assert texts[0] == texts[1]
    assert "[[1, 5, 6, 7, 8, 9, 2" in texts[0]
