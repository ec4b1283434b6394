"""PEDRO, RED, LPT, low-rank (IA)^3, BitFit and infix tuning as types of peft (extra `peft`).

    import peft
    from pedro_bench.integrations.peft import PedroConfig

    model = peft.get_peft_model(model, PedroConfig(r=12, task_type="CAUSAL_LM"))

Importing this module registers the types, so that peft's own `get_peft_model`, `PeftModel.from_pretrained`
and `AutoPeftModelForCausalLM` know them; without the import peft refuses a saved adapter with the name of
its type. The numbers are those of this package's methods: the same modules in the same places.

A method that reads the prompt (PEDRO, LPT, infix tuning) must know where it ends. In this order:
`prompt_mask` (B, T) given to `forward` or `generate`; `labels`, whose leading -100 are the prompt; the whole
input at the first pass of `generate` or of a forward in evaluation.
"""

from pedro_bench.integrations.peft.configs import (
    BitFitConfig,
    InfixConfig,
    LowRankIA3Config,
    LptConfig,
    MethodConfig,
    PedroConfig,
    RedConfig,
)
from pedro_bench.integrations.peft.registering import register
from pedro_bench.integrations.peft.tuner import MethodTuner, architecture_parameters

__all__ = [
    "BitFitConfig",
    "InfixConfig",
    "LowRankIA3Config",
    "LptConfig",
    "MethodConfig",
    "MethodTuner",
    "PedroConfig",
    "RedConfig",
    "architecture_parameters",
]

register()
