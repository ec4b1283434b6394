from dataclasses import dataclass
from typing import Any

import pytest

from pedro_bench.errors import ConfigError
from pedro_bench.protocols.method import Method
from pedro_bench.protocols.settings import build_group, describe


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 2


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    roles: tuple[str, ...] = ()
    inner: Any = None

    def __post_init__(self):
        if len(self.name) > 5:
            raise ConfigError(f"outer.name must be short, got {self.name!r}.")


@dataclass(frozen=True, kw_only=True)
class Half(Method):
    """A method that says neither what it trains nor how it attaches."""


@dataclass
class Thawed:
    name: str = "x"


HERE = __name__
OUTER = {"_target_": f"{HERE}.Outer", "name": "a"}


def test_nested_groups_are_built_and_lists_become_tuples():
    inner = {"_target_": f"{HERE}.Inner", "size": 3}
    built = build_group("outer", {**OUTER, "roles": ["query"], "inner": inner})
    assert built == Outer(name="a", roles=("query",), inner=Inner(size=3))


def test_what_is_described_is_built_again_with_its_defaults():
    built = Outer(name="a", roles=("query",), inner=Inner())
    plain = describe(built)
    assert plain == {
        "_target_": f"{HERE}.Outer",
        "name": "a",
        "roles": ["query"],
        "inner": {"_target_": f"{HERE}.Inner", "size": 2},
    }
    assert build_group("outer", plain) == built


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"name": "a"}, r"outer must be a group with a _target_, got \{'name': 'a'\}"),
        ("a", r"outer must be a group with a _target_, got 'a'"),
        ({**OUTER, "nam": 1}, r"outer\.nam must be a known key, got 'nam'\. Did you mean 'name'"),
        (
            {"_target_": f"{HERE}.Outer"},
            r"outer\.name must be given, got nothing: add outer\.name=",
        ),
        ({**OUTER, "name": "too long"}, r"outer\.name must be short, got 'too long'"),
        ({**OUTER, "name": 3}, r"outer must have values of the right type, got \{'name': 3\}"),
        ({"_target_": f"{HERE}.Thawed"}, r"must name a frozen dataclass, got '.*Thawed'"),
        (
            {"_target_": "nowhere"},
            r"outer\._target_ must name a class with its module, such as .* got 'nowhere'",
        ),
        ({"_target_": f"{HERE}.Absent"}, r"has no attribute 'Absent' in '.*test_settings.py'\)"),
        (
            {"_target_": "no.where"},
            r"must name a class that can be imported, got 'no\.where' \(No module named 'no'\): give the "
            r"folder of no\.py with --config-dir, or have it on PYTHONPATH\.$",
        ),
        ({"_target_": "pedro_bench.no.where"}, r"\(No module named 'pedro_bench\.no'\)\.$"),
        (
            {"_target_": f"{HERE}.Half"},
            r"that defines all of its protocol, got '.*Half' without attach, count: add it to the",
        ),
        (
            {**OUTER, "inner": {"_target_": f"{HERE}.Inner", "sise": 1}},
            r"outer\.inner\.sise must be a known key, got 'sise'\. Did you mean 'size'",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(config, message):
    with pytest.raises(ConfigError, match=message):
        build_group("outer", config)
