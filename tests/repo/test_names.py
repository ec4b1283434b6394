"""Dotted names of this package in docstrings and comments, in backticks, are names that it has."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import pedro_bench

PACKAGE = Path(pedro_bench.__file__).parent
CONF = Path(__file__).parents[2] / "conf"
MODULES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")}
DOTTED = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+)(?:\(.*?\))?`")


def texts_of(path: Path) -> Iterator[str]:
    """Yield a module's docstrings, those of its names included, and its comments."""
    for node in ast.walk(MODULES[path]):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield str(node.value.value)
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def names_in(body: list[ast.stmt]) -> set[str]:
    """Return the names that statements define or import, in branches too; of a class, `self`'s as well."""
    found: set[str] = set()
    for node in (one for statement in body for one in ast.walk(statement)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name)
    return found


CLASSES: dict[str, list[ast.ClassDef]] = {}
for _tree in MODULES.values():
    for _node in ast.walk(_tree):
        if isinstance(_node, ast.ClassDef):
            CLASSES.setdefault(_node.name, []).append(_node)


def has_attribute(name: str, attribute: str) -> bool:
    """Whether a class of this name has an attribute, or inherits it; bases from elsewhere may have any."""
    return any(
        attribute in names_in(node.body)
        or any(
            has_attribute(base.id, attribute)
            for base in node.bases
            if isinstance(base, ast.Name) and base.id in CLASSES
        )
        for node in CLASSES[name]
    )


def is_name(parts: list[str]) -> bool:
    """Whether dotted parts below the package are a module, one of its names, or an attribute of a class."""
    place, rest = PACKAGE, list(parts)
    while rest and ((place / rest[0]).is_dir() or (place / f"{rest[0]}.py").is_file()):
        place = place / rest.pop(0)
    if not rest:
        return True
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    if rest[0] not in names_in(MODULES[path].body):
        return False
    return len(rest) == 1 or rest[0] not in CLASSES or has_attribute(rest[0], rest[1])


def settings() -> set[str]:
    """Return the keys of settings: `data.root` is one of those in a YAML or a message, no module's name."""
    in_yaml = {
        f"{path.parent.name}.{key}"
        for path in CONF.glob("*/*.yaml")
        for key in yaml.safe_load(path.read_text(encoding="utf-8")) or ()
    }
    nodes = (node for tree in MODULES.values() for node in ast.walk(tree))
    return in_yaml | {str(node.value) for node in nodes if isinstance(node, ast.Constant)}


def absent_names(path: Path, known: set[str]) -> list[str]:
    top = {one.stem for one in PACKAGE.iterdir() if not one.stem.startswith("__")}
    absent = []
    for name in (name for text in texts_of(path) for name in DOTTED.findall(text)):
        first, *others = name.split(".")
        if first == "pedro_bench":
            is_there = is_name(others)
        elif first in CLASSES:
            is_there = has_attribute(first, others[0])
        else:
            is_there = first not in top or name in known or is_name([first, *others])
        if not is_there:
            absent.append(name)
    return absent


def test_names_in_docstrings_and_comments_are_there() -> None:
    known = settings()
    absent = {
        path.relative_to(PACKAGE).as_posix(): names
        for path in sorted(MODULES)
        if (names := absent_names(path, known))
    }
    assert absent == {}


@pytest.mark.parametrize(
    ("name", "is_there"),
    [
        ("nn.injection", True),
        ("nn.injection.BackboneInjection", True),
        ("nn.injection.BackboneInjection.no_such_name", False),
        ("nn.no_such_module", False),
        ("records.read", True),
        ("serving.bank.AdapterBank.generate", True),
        ("serving.bank.AdapterBank.backbone", True),
    ],
)
def test_a_name_is_looked_up_in_the_source(name: str, is_there: bool) -> None:
    assert is_name(name.split(".")) is is_there
