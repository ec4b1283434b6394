"""Records of invented runs for the tests of reporting; every number here is made up."""

from pedro_bench import records
from pedro_bench.records import RunRecord

LABELS = {"pedro": "PEDRO", "ia3": "(IA)$^3$", "lora": "LoRA"}


def run(results_dir, method="pedro", task="boolq", seed=0, score=80.0, **changes):
    """Write one record; `r` and `lr` are settings, everything else fields of the record."""
    settings = {"name": method, "label": LABELS[method], "r": changes.pop("r", 12)}
    trainer = {"name": "micro", "label": "micro", "lr": changes.pop("lr", 0.001)}
    config = {"method": settings, "trainer": trainer, "task": {"label": task.upper()}}
    fields = {
        "key": records.run_key({"task": task, **config, "code": changes.pop("code", 1)}),
        "status": "finished",
        "method": method,
        "task": task,
        "backbone": "micro",
        "data": "micro",
        "suite": "main",
        "seed": seed,
        "config": config,
        "main_metric": "accuracy",
        "metrics": {"test": {"accuracy": score}},
        "started": f"2026-01-01T00:00:0{seed}+00:00",
    }
    return records.write(RunRecord(**{**fields, **changes}), results_dir)


def five(results_dir, method="pedro", task="boolq", score=80.0, **changes):
    """Write five seeds whose median is `score`."""
    for seed, offset in enumerate((2.0, -1.0, 0.0, 1.0, -2.0)):
        run(results_dir, method, task, seed, score + offset, **changes)
