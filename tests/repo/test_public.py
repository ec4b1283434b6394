"""What docs/api.md lists can be imported, and its docstrings say what it takes."""

import dataclasses
import importlib
import inspect
import re
from pathlib import Path

import pytest

import pedro_bench
from pedro_bench.protocols.method import Method

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
PUBLIC = re.findall(r"^::: (\S+)$", PAGE, flags=re.MULTILINE)


def resolved(name):
    """Import a module, or a name of one."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        module, _, attribute = name.rpartition(".")
        return getattr(importlib.import_module(module), attribute)


def functions(name, thing):
    """Yield a public function, or those and the properties that a class defines, with their names."""
    if inspect.isfunction(thing):
        yield name, thing
    if inspect.isclass(thing):
        for member, value in vars(thing).items():
            value = getattr(value, "fget", getattr(value, "__func__", value))
            if inspect.isfunction(value) and not member.startswith("_"):
                yield f"{name}.{member}", value


def left_out(name, text, required):
    """Return which names no line of the text explains; with no text, that."""
    if not text:
        return [f"{name}: no docstring"]
    return [
        f"{name}: {one}" for one in required if not re.search(rf"^ +\**{one}: ", text, re.MULTILINE)
    ]


def test_what_the_package_offers_is_on_the_page():
    offered = {f"pedro_bench.{name}" for name in pedro_bench.__all__ if name != "__version__"}
    assert offered <= set(PUBLIC)
    assert len(PUBLIC) == len(set(PUBLIC))
    assert all(callable(getattr(pedro_bench, name.rpartition(".")[2])) for name in offered)


def test_every_name_has_its_line_of_words():
    """Before its docstring, so that the page can be read as text."""
    for section in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]:
        names = [name.rpartition(".")[2] for name in re.findall(r"(?m)^::: (\S+)$", section)]
        rows = re.findall(r"(?m)^\| `(\w+)[^`]*` \| \S.* \|$", section)
        assert rows == names


def test_every_method_is_on_the_page():
    folder = REPOSITORY / "pedro_bench" / "methods"
    modules = {path.stem for path in folder.iterdir() if not path.name.startswith("_")}
    listed = [name for name in PUBLIC if name.startswith("pedro_bench.methods.")]
    assert {name.split(".")[2] for name in listed} == modules
    assert all(issubclass(resolved(name), Method) for name in listed)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_documented(name):
    """A function explains its parameters where it has a section for them, a dataclass its own fields."""
    thing = resolved(name)
    missing = left_out(name, inspect.getdoc(thing), ())
    for where, function in functions(name, thing):
        text = function.__doc__ or ""
        parameters = [
            one for one in inspect.signature(function).parameters if one not in ("self", "cls")
        ]
        assert inspect.isclass(thing) or not parameters or "Args:" in text
        missing += left_out(where, text, parameters if "Args:" in text else ())
    if dataclasses.is_dataclass(thing):
        own = vars(thing).get("__annotations__", {})
        fields = [field.name for field in dataclasses.fields(thing) if field.name in own]
        missing += left_out(name, thing.__doc__, fields)
    assert missing == []
