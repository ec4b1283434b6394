"""`python -m pedro_bench.cli.params backbone=llama2_7b`: every method's parameters, and the papers'.

The numbers come from the backbone's configuration and each method's closed form: no weights, no torch.
(A matrix runs tiny models with random weights, in some minutes.)
`matrices` is what the papers count, `trainable` all that the optimiser updates. Methods are found by
listing conf/method.

    backbone=llama2_7b              as of `python -m pedro_bench`
    method=pedro,lora               only these; of one alone also its settings, such as method.r=8
    matrix=true                     what each can do on each family of backbones, by trying it
    budget=8.9e6                    the size of each that comes nearest to so many matrix entries
    output=text|json|md
"""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pedro_bench import checks
from pedro_bench.analysis.papers import Published, in_published_order, published_parameters
from pedro_bench.cli.budget import nearest_size, refuse_both, resolve_method, size_field
from pedro_bench.cli.command import DONE, guarded, print_json
from pedro_bench.cli.hydra.compose import keys_of, side_by_side
from pedro_bench.cli.hydra.overrides import split_extra
from pedro_bench.cli.options import check_option, options
from pedro_bench.errors import ConfigError, InjectionError
from pedro_bench.protocols.backbone import LINEAR_ROLES, Backbone, BackboneShape
from pedro_bench.protocols.method import Method, ParameterCount
from pedro_bench.protocols.settings import build_group, describe

NONE = "--"

_WIDE = 140
"""Columns where there is no terminal to ask, so that a file gets one line a method."""


def show(label: str, found: Mapping[str, Any]) -> None:
    """Print the ledger of a backbone (by its printed name) as a table with its notes."""
    table = Table(title=escape(_title(label, found)), title_justify="left")
    for name, is_number in _columns(found):
        table.add_column(
            name, justify="right" if is_number else "left", no_wrap=name != "setting", min_width=8
        )
    for row in found["methods"]:
        table.add_row(*(escape(cell) for cell in _cells(row, found)))
    console = Console(width=None if sys.stdout.isatty() else _WIDE)
    console.print(table)
    for line in _remarks(found):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def markdown(label: str, found: Mapping[str, Any]) -> str:
    """Return the ledger as Markdown, with its notes as a list."""
    columns = _columns(found)
    lines = [
        f"{_title(label, found)}\n",
        _line([name for name, _ in columns]),
        _line(["--:" if is_number else "---" for _, is_number in columns]),
        *(_line(_cells(row, found)) for row in found["methods"]),
    ]
    remarks = [f"- {line}" for line in _remarks(found)]
    return "\n".join([*lines, *([""] if remarks else []), *remarks])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _title(label: str, found: Mapping[str, Any]) -> str:
    title = f"Parameters trained on {label}, which has {found['total']:,}"
    if found["budget"] is None:
        return title
    return f"{title}: the size nearest to {found['budget']:,.0f} in matrices"


def _columns(found: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """Return heading and whether it holds numbers."""
    names = [("method", False), ("setting", False), ("matrices", True), ("trainable", True)]
    names.append(("trainable %", True))
    if found["budget"] is not None:
        return [*names, ("off budget", True)]
    return [*names, ("published", False)] if any(map(_published, found["methods"])) else names


def _cells(row: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    cells = [
        row["method"],
        ", ".join(f"{name}={_value(value)}" for name, value in row["setting"].items()) or NONE,
        f"{row['matrices']:,}",
        f"{row['trainable']:,}",
        f"{100 * row['trainable'] / row['total']:.3f}",
    ]
    if found["budget"] is not None:
        off = row["off"]
        return [*cells, NONE if off is None else f"{100 * off / found['budget']:+.1f}%"]
    has_published = len(_columns(found)) > len(cells)
    return [*cells, _published(row) or NONE] if has_published else cells


def _published(row: Mapping[str, Any]) -> str:
    return "; ".join(
        f"{one['params']} ({one['paper']}, Table {one['table']}"
        + (f", {one['setting']}: {one['trainable']:,}" if "trainable" in one else "")
        + ")"
        for one in row["published"]
    )


def _value(value: Any) -> str:
    if isinstance(value, list):
        return "all" if value == list(LINEAR_ROLES) else " ".join(map(str, value))
    return "null" if value is None else str(value)


def _remarks(found: Mapping[str, Any]) -> list[str]:
    remarks = list(found["notes"])
    if found["budget"] is not None:
        unsized = [row["method"] for row in found["methods"] if row["size"] is None]
        if unsized:
            remarks.append(f"Without a setting that sizes them, as they are: {', '.join(unsized)}.")
    if found["missing"]:
        names = ", ".join(found["missing"])
        remarks.append(f"Published for this backbone, but not among the methods here: {names}.")
    return remarks


DEFAULTS = {"method": None, "budget": None, "matrix": False, "output": "text"}
"""The command's own keys."""

OUTPUTS = ("text", "json", "md")


@dataclass(frozen=True)
class Question:
    """What is asked of every method: the backbone's sizes, settings, typed keys, and a budget or None."""

    shape: BackboneShape
    config: Mapping[str, Any]
    typed: Collection[str]
    budget: float | None


def params(arguments: Sequence[str]) -> int:
    """Print the ledger; return the exit code.

    Raises:
        PedroBenchError: If the input is bad or the backbone's configuration cannot be found.
    """
    own, others = split_extra(arguments, DEFAULTS)
    checks.choice("output", own["output"], OUTPUTS)
    checks.number("budget", own["budget"], above=0, optional=True)
    checks.flag("matrix", own["matrix"])
    typed = keys_of(others)
    if own["matrix"]:
        _refuse_one_backbone(own["budget"], typed)
    names = _names(own["method"], typed)
    config, methods = side_by_side("method", names, others)
    if own["matrix"]:
        return _matrix({name: build_group("method", one) for name, one in methods.items()}, own)
    backbone: Backbone = build_group("backbone", config["backbone"])
    question = Question(backbone.shape(), config, typed, own["budget"])
    is_whole = own["method"] is None and len(names) > 1
    rows, unfit = _rows(methods, question, skips_unfit=is_whole)
    numbers = [one for one in published_parameters() if one.backbone == backbone.name]
    shown = {row["method"]: row for row in rows}
    counts = {
        one: _count_as_published(one, methods[one.method], question)
        for one in numbers
        if one.method in shown
    }
    for row in rows:
        row["published"] = [
            _as_json(one, count, row)
            for one, count in counts.items()
            if one.method == row["method"]
        ]
    found = {
        "backbone": backbone.name,
        "total": question.shape.num_parameters,
        "budget": question.budget,
        "methods": rows,
        "notes": [*_notes(counts, methods, question), *unfit],
        "missing": _missing(numbers) if is_whole else [],
    }
    if own["output"] == "json":
        print_json(found)
    elif own["output"] == "md":
        print(markdown(backbone.label, found))
    else:
        show(backbone.label, found)
    return DONE


def _matrix(methods: Mapping[str, Method], own: Mapping[str, Any]) -> int:
    """Print what each method can do on each family."""
    from pedro_bench.efficiency.capabilities import as_markdown, probe, samples

    layouts = {
        name: {label: probe(backbone, quantised, method) for label, method in methods.items()}
        for name, backbone, quantised in samples()
    }
    found = [
        {"method": label, "family": name, "capability": capability, "refusal": reason or None}
        for label in methods
        for name, cells in layouts.items()
        for capability, reason in cells[label].items()
    ]
    if own["output"] == "json":
        print_json({"cells": found})
    else:
        print(as_markdown(found))
    return DONE


def _refuse_one_backbone(budget: float | None, typed: Collection[str]) -> None:
    """Refuse what has no meaning for a matrix.

    Raises:
        ConfigError: If a budget is asked for as well, or a backbone.
    """
    if budget is not None:
        raise ConfigError(
            f"matrix must be false with a budget, got budget={budget!r}: a matrix counts nothing."
        )
    chosen = sorted(key for key in typed if key.partition(".")[0] == "backbone")
    if chosen:
        raise ConfigError(
            f"{chosen[0]} must be left out with matrix=true, which tries tiny models of every family, got it "
            "typed: drop one of the two."
        )


def _names(chosen: Any, typed: Collection[str]) -> list[str]:
    """Return the methods asked for, all in the papers' order unless some were named."""
    if chosen is None:
        one = any(key.startswith("method.") for key in typed)
        return ["pedro"] if one else in_published_order(options("method"))
    names = list(dict.fromkeys([chosen] if isinstance(chosen, str) else list(chosen)))
    for name in names:
        check_option("method", name)
    return names


def _rows(
    methods: Mapping[str, Any], question: Question, *, skips_unfit: bool
) -> tuple[list[dict[str, Any]], list[str]]:
    """Count every method; one that fits neither backbone nor budget is named in a note instead.

    Raises:
        InjectionError: If the backbone has no place for a method, unless `skips_unfit`.
        ConfigError: If a method refuses the budget, unless `skips_unfit`.
    """
    rows, unfit = [], []
    for name, config in methods.items():
        try:
            rows.append(_row(config, question))
        except (ConfigError, InjectionError) as error:
            if not skips_unfit:
                raise
            unfit.append(f"{name} does not fit: {error}")
    return rows, unfit


def _row(config: Any, question: Question) -> dict[str, Any]:
    """Count one method, at its own size or at the one that the budget gives."""
    if question.budget is not None and "method.budget" in question.typed:
        raise ConfigError(
            "budget must stand in place of method.budget, got both: leave one of them out."
        )
    config, _ = resolve_method({**question.config, "method": config}, question.typed)
    method: Method = build_group("method", config)
    field = size_field(type(method))
    if question.budget is not None and field is not None:
        refuse_both(field, question.typed)
        method = nearest_size(method, question.shape, question.budget).method
    count: ParameterCount = method.count(question.shape)
    row: dict[str, Any] = {
        "method": method.name,
        "setting": _setting(method),
        "size": None if field is None else {"field": field, "value": getattr(method, field)},
        "matrices": count.matrices,
        "trainable": count.trainable,
        "total": question.shape.num_parameters,
    }
    if question.budget is not None:
        row["off"] = None if field is None else count.matrices - question.budget
    return row


def _setting(method: Method) -> dict[str, Any]:
    """Return the fields that the method has beyond those of every method."""
    common = {part.name for part in fields(Method)}
    own = [part.name for part in fields(method) if part.name not in common]
    return {name: describe(getattr(method, name)) for name in own}


def _count_as_published(one: Published, config: Any, question: Question) -> ParameterCount:
    """Count a method at the size of a published number."""
    config, _ = resolve_method({**question.config, "method": config}, question.typed)
    method: Method = build_group("method", {**config, **one.sizes})
    return method.count(question.shape)


def _as_json(one: Published, count: ParameterCount, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a published number, with ours at its size where the row has another."""
    kept = one._asdict()
    found = {name: kept[name] for name in ("params", "paper", "table", "setting", "note")}
    if all(row["setting"][name] == value for name, value in one.sizes.items()):
        return found
    return {**found, "matrices": count.matrices, "trainable": count.trainable}


def _notes(
    counts: Mapping[Published, ParameterCount], methods: Mapping[str, Any], question: Question
) -> list[str]:
    """Say how the papers count, and where a published number is not that of its own setting."""
    notes = list(dict.fromkeys(f"{one.method}: {one.note}" for one in counts if one.note))
    if question.budget is not None or any(key.startswith("method.") for key in question.typed):
        return notes  # other sizes than the papers'
    for one, count in counts.items():
        entries = count.trainable if one.counts_all else count.matrices
        if not one.agrees(entries):
            notes.append(_disagreement(one, entries, methods[one.method], question.shape))
    return notes


def _disagreement(one: Published, entries: int, config: Any, shape: BackboneShape) -> str:
    """Say what the published setting gives, and which size gives the published number."""
    setting = f" for {one.setting}" if one.setting else ""
    said = f"{one.method}: {one.source} has {one.params}{setting}, which gives {entries:,}"
    method: Method = build_group("method", config)
    if one.note or size_field(type(method)) is None:
        return f"{said}."
    sized = nearest_size(method, shape, one.entries)
    return f"{said}; {sized.field}={sized.value} gives {sized.count.matrices:,}."


def _missing(numbers: Sequence[Published]) -> list[str]:
    """Return methods with a published number that have no YAML."""
    known = options("method")
    return list(dict.fromkeys(one.method for one in numbers if one.method not in known))


if __name__ == "__main__":
    sys.exit(guarded(params, sys.argv[1:], __doc__))
