"""Budget: the size of a method that trains nearest to so many parameters, so that methods compare.

    python -m pedro_bench method=lora method.budget=8.9e6      instead of method.r=…
    python -m pedro_bench.cli.params budget=8.9e6              the answer for every method

A budget is in entries of matrices, as the papers count (`ParameterCount.matrices`). Which field is
sized is the method's word (`Method.size_fields`). The run is that of the size found: it has the same key
as the run that names the size, and its recorded configuration keeps the budget beside it.

A method with a field of its own called `budget` is given the number as it is.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields, replace
from importlib import import_module
from typing import Any

from pedro_bench import checks
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import BackboneShape
from pedro_bench.protocols.method import Method, ParameterCount
from pedro_bench.protocols.settings import Settings, build_group, build_settings

BUDGET = "budget"

FARTHEST = 2
"""A size that trains so many times the budget, or so many times less, is no answer to it."""


@dataclass(frozen=True)
class Sized:
    """A method with the `field` of its size set to `value`, and the `count` that it then trains."""

    method: Method
    field: str
    value: int
    count: ParameterCount


def size_field(kind: type[Method]) -> str | None:
    """Return the field that sizes a method, or None where there is none."""
    own = {part.name for part in fields(kind)}
    return next((name for name in (BUDGET, *kind.size_fields) if name in own), None)


def nearest_size(method: Method, shape: BackboneShape, budget: float) -> Sized:
    """Find the size whose count of matrix entries is nearest to a budget; of two, the smaller.

    The count must not fall as the size grows. Sizes that the method refuses are no candidates; its
    present size must be one that it takes.

    Args:
        method: Any settings of the method; all but its size are kept.
        shape: The backbone's sizes.
        budget: Matrix entries, above 0.

    Raises:
        ConfigError: If the budget is not above 0, or no field sets the method's size.
    """
    checks.number("method.budget", budget, above=0)
    field = size_field(type(method))
    if field is None:
        raise ConfigError(
            f"method.budget must be left out for method={method.name}, which has no setting that "
            f"sizes it, got {budget:g}."
        )
    if field == BUDGET:
        return _sized(method, shape, field, round(budget))
    start = getattr(method, field) or 1
    _sized(method, shape, field, start)  # what is wrong whatever the size is raises here

    def entries(value: int) -> float:
        try:
            return _sized(method, shape, field, value).count.matrices
        except ConfigError:
            return float("inf" if value > start else "-inf")

    top = start
    while entries(top) < budget and top < budget:  # a step of the size is an entry at least
        top *= 2
    above = _first(entries, budget, top)
    candidates = [value for value in (above - 1, above) if 0 < entries(value) < float("inf")]
    best = min(candidates, key=lambda value: (abs(entries(value) - budget), value))
    return _sized(method, shape, field, _first(entries, entries(best), best))


def refuse_both(field: str | None, typed: Collection[str]) -> None:
    """Refuse a size that was typed beside a budget.

    Raises:
        ConfigError: If it was.
    """
    if f"method.{field}" in typed:
        raise ConfigError(
            f"a budget must stand in place of method.{field}, got both: leave one of them out."
        )


def settings_from(config: Mapping[str, Any], typed: Collection[str] = ()) -> Settings:
    """Build settings from a composed configuration, in which `method.budget` may stand for a size.

    Args:
        config: As for `build_settings`.
        typed: Keys that were typed, such as `method.r`, to refuse a size beside its budget.

    Returns:
        The settings; where a budget chose the size, `resolved_config` says so under `budget`.

    Raises:
        ConfigError: If a key is unknown, missing or out of range, or the budget has no meaning.
    """
    method, chosen = resolve_method(config, typed)
    settings = build_settings({**config, "method": method} if chosen is not None else config)
    if chosen is None:
        return settings
    return replace(settings, resolved_config={**settings.resolved_config, BUDGET: chosen})


def resolve_method(
    config: Mapping[str, Any], typed: Collection[str] = ()
) -> tuple[Any, dict[str, Any] | None]:
    """Return the method's configuration with its size in place of a budget, and how it was chosen.

    Raises:
        ConfigError: If both budget and size were typed, the method has no size, or even its nearest
            size is far from the budget.
    """
    given: Any = config.get("method")
    kind = _class_of(given)
    if kind is None or BUDGET not in given:
        return given, None
    budget = given[BUDGET]
    if BUDGET in {part.name for part in fields(kind)}:
        whole = isinstance(budget, float) and budget.is_integer()
        return {**given, BUDGET: int(budget) if whole else budget}, None
    field = size_field(kind)
    refuse_both(field, typed)
    others = {name: value for name, value in given.items() if name != BUDGET}
    checks.number("method.budget", budget, above=0)
    shape = build_group("backbone", config["backbone"]).shape()
    sized = nearest_size(build_group("method", others), shape, budget)
    if not budget / FARTHEST <= sized.count.matrices <= budget * FARTHEST:
        raise ConfigError(
            f"method.budget must be within reach of method={sized.method.name}, got {budget:g}, where "
            f"the nearest is {sized.count.matrices:,} with method.{sized.field}={sized.value}: set "
            "that size to train it all the same."
        )
    chosen = {
        "asked": budget,
        "field": sized.field,
        "value": sized.value,
        "matrices": sized.count.matrices,
    }
    return {**others, sized.field: sized.value}, chosen


def _sized(method: Method, shape: BackboneShape, field: str, value: int) -> Sized:
    resized = replace(method, **{field: value})  # type: ignore[arg-type]
    return Sized(resized, field, value, resized.count(shape))


def _first(entries: Callable[[int], float], least: float, top: int) -> int:
    """Return the first size up to `top` with at least so many entries, or `top`, by bisection."""
    below, above = 0, top
    while above - below > 1:
        middle = (below + above) // 2
        if entries(middle) < least:
            below = middle
        else:
            above = middle
    return above


def _class_of(given: Any) -> type[Method] | None:
    """Return the class of a method's configuration, or None: what is wrong is reported when it is built."""
    if not isinstance(given, Mapping):
        return None
    module, _, name = str(given.get("_target_")).rpartition(".")
    try:
        kind = getattr(import_module(module), name)
    except Exception:  # noqa: BLE001 - the module may be anybody's
        return None
    return kind if isinstance(kind, type) and issubclass(kind, Method) else None
