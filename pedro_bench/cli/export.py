"""`python -m pedro_bench.cli.export run=RECORD format=peft out=DIR`: a finished run for other people's tools.

    run=RECORD.json                 the run, or its folder of working files
    format=peft                     adapter_config.json and adapter_model.safetensors, as peft loads them
    format=remote_code              the same with its base model's configuration, as Transformers loads
                                    it with trust_remote_code=True, and with it lm_eval
    format=merged                   the whole model with the adapter in its weights, as Transformers loads it
    format=native                   this package's own folder, as pedro_bench.load takes it
    out=DIR                         a folder that is new or empty
    push=USER/REPO private=true     uploads it; the token is the Hub client's (HF_TOKEN, `hf auth login`)
    base=OWNER/NAME                 what others load as the base model; null: as the run names it
    license=ID                      licence of what is exported, for the model card, such as apache-2.0
    backbone.path=DIR               where the run's backbone lies now; null: where it lay
    output=text|json device=auto

Every export has a model card (README.md). The first three are kept only if they give the trained model's
logits; native holds the trained tensors themselves, and needs the method's class to be there.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pedro_bench.cli.command import (
    DONE,
    check_folder,
    check_output,
    guarded,
    logs_to_stderr,
    print_json,
)
from pedro_bench.cli.hydra.overrides import only_extra
from pedro_bench.cli.hydra.rerun import command_of
from pedro_bench.errors import ConfigError
from pedro_bench.integrations.export.request import Request

DEFAULTS = {
    "run": None,
    "format": None,
    "out": None,
    "push": None,
    "private": True,
    "base": None,
    "license": None,
    "backbone.path": None,
    "device": "auto",
    "output": "text",
}


def export(arguments: Sequence[str]) -> int:
    """Export one run; return the exit code.

    Raises:
        PedroBenchError: If the input is bad, the run cannot have the format, or the Hub does not take it.
    """
    values = only_extra(arguments, DEFAULTS)
    output = values.pop("output")
    check_output(output)
    values["backbone_path"] = values.pop("backbone.path")
    for name in ("run", "format", "out"):
        if values[name] is None:
            raise ConfigError(f"{name} must be given, got none: see --help.")
    request = Request(**values)
    check_folder("out", Path(request.out).parent)
    from pedro_bench.integrations.export import upload

    if request.push is not None:
        upload.require_ready(request.push)
    with logs_to_stderr():
        from pedro_bench.integrations.export.writing import export as write

        folder = write(request, command_of)
        address = None
        if request.push is not None:
            address = upload.push(folder, request.push, private=request.private)
    if output == "json":
        print_json({"out": str(folder), "format": request.format, "pushed": address})
    else:
        print(f"{request.format}: {folder}")
        if address is not None:
            print(f"pushed: {address}")
    return DONE


if __name__ == "__main__":
    sys.exit(guarded(export, sys.argv[1:], __doc__))
