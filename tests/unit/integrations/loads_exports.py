"""A fresh process: loads exported folders with the tools that they are for, and prints their logits as JSON.

python loads_exports.py TOKENS.json kind=folder …        kind: plugin, peft, remote_code, merged, native
"""

import json
import sys
from pathlib import Path
from typing import Any


def logits(kind: str, folder: str, rows: Any) -> Any:
    """Return logits at answer positions, as this package gives them."""
    import torch

    ids, labels = torch.tensor(rows["ids"]), torch.tensor(rows["labels"])
    if kind == "native":
        import pedro_bench
        from pedro_bench.protocols.batch import Batch

        prompts = labels == -100
        batch = Batch(ids, torch.ones_like(prompts), prompts, labels)
        run = pedro_bench.load(folder, device="cpu", backbone=rows["backbone"])
        with torch.no_grad():
            return run.model.answer_logits(batch)[0]
    trusted = {"trust_remote_code": True} if kind == "remote_code" else {}
    if kind in ("merged", "remote_code"):
        from transformers import AutoModelForCausalLM as Loader
    else:
        from peft import AutoPeftModelForCausalLM as Loader
    if kind == "plugin":
        import pedro_bench.integrations.peft
    model = Loader.from_pretrained(folder, **trusted).eval()
    takes_labels = kind in ("plugin", "remote_code")  # peft's AdaLoRA takes none once loaded
    prompts = {"labels": labels} if takes_labels else {}
    with torch.no_grad():
        made = model(input_ids=ids, attention_mask=torch.ones_like(ids), **prompts).logits
    own = made[:, made.shape[1] - ids.shape[1] :]
    return own[:, :-1][labels[:, 1:] != -100]


def main(tokens: str, *exports: str) -> None:
    rows = json.loads(Path(tokens).read_text())
    found = {}
    order = (
        "peft",
        "merged",
        "remote_code",
        "plugin",
        "native",
    )  # the first two know nothing of this package
    for given in sorted(exports, key=lambda one: order.index(one.partition("=")[0])):
        kind, _, folder = given.partition("=")
        found[folder] = logits(kind, folder, rows).tolist()
        if kind in ("merged", "peft"):
            assert not any(name.startswith("pedro_bench") for name in sys.modules), given
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
