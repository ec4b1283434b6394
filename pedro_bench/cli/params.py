"""`python -m pedro_bench.cli.params backbone=llama2_7b`: every method's parameters.

The numbers come from the backbone's configuration and each method's closed form. `method=…` (and
`method.r=…`) asks for one method, `method=pedro,lora` for several.
"""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench.cli.command import DONE, check_output, guarded, print_json
from pedro_bench.cli.compose import configuration_of, split_extra
from pedro_bench.cli.options import check_option, options
from pedro_bench.protocols.backbone import Backbone, BackboneShape
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import build_group


def params(arguments: Sequence[str]) -> int:
    """Print the ledger; return the exit code.

    Raises:
        PedroBenchError: If the input is bad or the backbone's configuration cannot be found.
    """
    own, others = split_extra(arguments, {"method": None, "output": "text"})
    check_output(own["output"])
    chosen = own["method"]
    if chosen is None:
        one = any(argument.lstrip("+~").startswith("method.") for argument in others)
        chosen = ["pedro"] if one else options("method")
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    for name in names:
        check_option("method", name)
    backbone: Backbone = build_group("backbone", configuration_of(others)["backbone"])
    shape = backbone.shape()
    rows = [_row(name, shape, others) for name in names]
    if own["output"] == "json":
        print_json({"backbone": backbone.name, "methods": rows})
    else:
        _show(backbone.label, rows)
    return DONE


def _row(name: str, shape: BackboneShape, others: Sequence[str]) -> dict[str, Any]:
    config = configuration_of([f"method={name}", *others])
    method: Method = build_group("method", config["method"])
    count = method.count(shape)
    return {
        "method": name,
        "matrices": count.matrices,
        "trainable": count.trainable,
        "total": shape.num_parameters,
    }


def _show(label: str, rows: Sequence[dict[str, Any]]) -> None:
    table = Table(title=escape(f"parameters on {label}"), title_justify="left")
    table.add_column("method")
    for column in ("matrices", "trainable", "total"):
        table.add_column(column, justify="right")
    table.add_column("trainable %", justify="right")
    for row in rows:
        counts = [f"{row[column]:,}" for column in ("matrices", "trainable", "total")]
        share = 100 * row["trainable"] / row["total"]
        table.add_row(escape(row["method"]), *counts, f"{share:.3f}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(guarded(params, sys.argv[1:]))
