"""Named random streams, all derived from the run's seed; torch is imported only where it is used."""

import hashlib


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for a named stream (`"order", epoch`), the same on every machine and Python."""
    text = "/".join([str(seed), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def seed_torch(seed: int, *names: str | int) -> None:
    """Set PyTorch's generators (CPU and all GPUs) to a named stream of the run's seed."""
    import torch

    torch.manual_seed(derive(seed, *names))
