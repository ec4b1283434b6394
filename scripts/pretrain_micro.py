"""Pre-train the embedded backbone on text of the micro world.

Killed and started again with the same settings, it goes on from its last checkpoint with the same
stream of batches.

    python scripts/build_micro_tokenizer.py --out pedro_bench/backbones/micro_weights
    python scripts/pretrain_micro.py --out pedro_bench/backbones/micro_weights --work outputs/pretraining
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any

import safetensors
import torch
import transformers
from micro_pretraining import checkpoint, optimizer, probes
from micro_pretraining.stream import PackedStream
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from pedro_bench.data import micro


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder with the tokenizer")
    parser.add_argument("--work", type=Path, required=True, help="folder of checkpoint and log")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--length", type=int, default=192)
    parser.add_argument("--short-steps", type=int, default=1200, help="steps with short sequences")
    parser.add_argument("--curriculum-steps", type=int, default=1000)
    parser.add_argument("--invented-share", type=float, default=0.2)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--muon-lr", type=float, default=0.015)
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--warmup-steps", type=int, default=200)
    parser.add_argument("--decay-share", type=float, default=0.5, help="share of steps that decay")
    parser.add_argument("--hidden-size", type=int, default=128)
    parser.add_argument("--ffn-dim", type=int, default=352)
    parser.add_argument("--num-layers", type=int, default=5)
    parser.add_argument("--probe-every-steps", type=int, default=250)
    parser.add_argument(
        "--probe-count", type=int, default=60, help="texts a probe; five times more at the end"
    )
    parser.add_argument("--save-every-steps", type=int, default=250)
    parser.add_argument("--transfer-steps", type=int, default=3000, help="steps of the third phase")
    parser.add_argument("--transfer-curriculum-steps", type=int, default=900)
    parser.add_argument(
        "--late-layers", type=int, default=2, help="layers that the third phase puts on top"
    )
    parser.add_argument(
        "--practice-steps", type=int, default=1500, help="steps of the second phase"
    )
    parser.add_argument("--practice-scale", type=float, default=0.5, help="share of the peak rates")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def build_model(
    arguments: argparse.Namespace, tokenizer: PreTrainedTokenizerFast, layers: int
) -> LlamaForCausalLM:
    """Make the untrained Llama-shaped model; the vocabulary is padded to a multiple of 64."""
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=arguments.hidden_size,
        intermediate_size=arguments.ffn_dim,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(arguments.seed)
    return LlamaForCausalLM(config).to(arguments.device)


def learning_scale(arguments: argparse.Namespace, step: int) -> float:
    """Share of the peak learning rate: linear warm-up, a plateau, a cosine down to 2%.

    The later phases warm up again, to `practice_scale`, and fall linearly over their later half.
    """
    first = arguments.steps + arguments.practice_steps
    for begin, steps in (
        (first, arguments.transfer_steps),
        (arguments.steps, arguments.practice_steps),
    ):
        if step >= begin:
            warm = min(1.0, (step - begin + 1) / arguments.warmup_steps)
            falling = max(0.02, min(1.0, 2 * (1 - (step - begin) / steps)))
            return float(arguments.practice_scale * warm * falling)
    warm = min(1.0, (step + 1) / arguments.warmup_steps)
    decay_steps = arguments.decay_share * arguments.steps
    left = min(1.0, (arguments.steps - step) / decay_steps)
    return float(warm * (0.02 + 0.98 * (0.5 - 0.5 * math.cos(math.pi * left))))


def counted_loss(
    model: LlamaForCausalLM, ids_BT: torch.Tensor, counted_BT: torch.Tensor
) -> torch.Tensor:
    """Next-token loss over the counted tokens; no other logits are computed."""
    hidden_BTD = model.model(input_ids=ids_BT).last_hidden_state[:, :-1]
    counted = counted_BT[:, 1:]
    logits = model.lm_head(hidden_BTD[counted])
    return torch.nn.functional.cross_entropy(logits, ids_BT[:, 1:][counted])


def main() -> None:
    """Train, log, save."""
    arguments = parse()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.out)
    arguments.work.mkdir(parents=True, exist_ok=True)
    grows_at = arguments.steps + arguments.practice_steps
    if checkpoint.last_step(arguments.work / "checkpoint") < grows_at:
        run_until(arguments, tokenizer, grows_at, late_layers=0)
    last = grows_at + arguments.transfer_steps
    model, state = run_until(arguments, tokenizer, last, late_layers=arguments.late_layers)
    install(arguments, model, tokenizer, state)


def run_until(
    arguments: argparse.Namespace,
    tokenizer: PreTrainedTokenizerFast,
    last: int,
    *,
    late_layers: int,
) -> tuple[LlamaForCausalLM, dict[str, Any]]:
    """Train with so many late layers, from the last checkpoint to step `last`.

    A layer on top of an older checkpoint starts as the identity: its output projections are zero.
    """
    model = build_model(arguments, tokenizer, arguments.num_layers + late_layers)
    late = [f"model.layers.{arguments.num_layers + i}." for i in range(late_layers)]
    for layer in model.model.layers[arguments.num_layers :]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
    optimizers = optimizer.build(
        model, lr=arguments.lr, muon_lr=arguments.muon_lr, weight_decay=arguments.weight_decay
    )
    state = checkpoint.load(arguments.work / "checkpoint", model, optimizers, new=late) or {
        "step": 0,
        "tokens": 0,
        "seconds": 0.0,
        "loss": None,
    }
    stream = PackedStream(
        tokenizer,
        seed=arguments.seed,
        steps=arguments.steps + arguments.practice_steps + arguments.transfer_steps,
        practice_from=arguments.steps,
        transfer_from=arguments.steps + arguments.practice_steps,
        batch_size=arguments.batch_size,
        length=arguments.length,
        curriculum_steps=arguments.curriculum_steps,
        transfer_curriculum_steps=arguments.transfer_curriculum_steps,
        short_steps=arguments.short_steps,
        invented_share=arguments.invented_share,
    )
    loader = DataLoader(stream, batch_size=None, sampler=range(state["step"], last), num_workers=1)
    train(arguments, model, optimizers, loader, tokenizer, state, last)
    return model, state


def train(
    arguments: argparse.Namespace,
    model: LlamaForCausalLM,
    optimizers: list[torch.optim.Optimizer],
    loader: DataLoader[tuple[torch.Tensor, torch.Tensor]],
    tokenizer: PreTrainedTokenizerFast,
    state: dict[str, Any],
    last_step: int,
) -> None:
    """Run the steps that are left; `state` holds step, seconds and the smoothed loss."""
    begun = time.monotonic() - state["seconds"]
    log = arguments.work / "log.jsonl"
    for ids, counted in loader:
        scale = learning_scale(arguments, state["step"])
        for each in optimizers:
            for group in each.param_groups:
                group["lr"] = scale * group["peak_lr"]
        loss = counted_loss(model, ids.to(arguments.device), counted.to(arguments.device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for each in optimizers:
            each.step()
            each.zero_grad()
        value = loss.item()
        state["loss"] = value if state["loss"] is None else 0.98 * state["loss"] + 0.02 * value
        state["step"] += 1
        state["tokens"] += ids.numel()
        state["seconds"] = time.monotonic() - begun
        last = state["step"] == last_step
        if last or state["step"] % arguments.probe_every_steps == 0:
            state["probes"] = probes.measure(
                model,
                tokenizer,
                count=arguments.probe_count * (5 if last else 1),
                device=arguments.device,
            )
            line = dict(state)
            with log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            print(json.dumps(line), flush=True)
        if last or state["step"] % arguments.save_every_steps == 0:
            checkpoint.save(arguments.work / "checkpoint", model, optimizers, state)


def install(
    arguments: argparse.Namespace,
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    state: dict[str, Any],
) -> None:
    """Write bf16 weights, configuration and the recipe."""
    parameters = sum(p.numel() for p in model.parameters())
    settings = {k: v for k, v in vars(arguments).items() if k not in ("out", "work")}
    model.to(torch.bfloat16).save_pretrained(arguments.out)
    recipe = {
        "what": "pre-trained from scratch on generated text of the micro world",
        "parameters": parameters,
        "vocabulary": len(tokenizer),
        "tokens": state["tokens"],
        "minutes": round(state["seconds"] / 60, 1),
        "final_loss": round(state["loss"], 4),
        "probes": state["probes"],
        "settings": settings,
        "micro_version": micro.VERSION,
        "versions": {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "safetensors": safetensors.__version__,
        },
    }
    checkpoint.write_json(arguments.out / "recipe.json", recipe)


if __name__ == "__main__":
    main()
