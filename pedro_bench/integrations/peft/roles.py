"""From peft's `target_modules` to roles: a method here adapts a role in every layer."""

import re
from collections.abc import Iterable, Sequence

from pedro_bench.errors import ConfigError, near_match
from pedro_bench.protocols.backbone import LINEAR_ROLES, LoadedBackbone, Site


def roles_of(
    target_modules: Sequence[str] | str | None,
    backbone: LoadedBackbone,
    default: tuple[str, ...],
) -> tuple[str, ...]:
    """Return the roles that `target_modules` names.

    Args:
        target_modules: Roles (`query`); names of modules (`q_proj`) or ends of their paths
            (`self_attn.q_proj`); as a text, a regular expression for whole paths. None: the default.
        backbone: The model.
        default: Roles of the method.

    Returns:
        Roles alone in the order given; otherwise in the order of `LINEAR_ROLES`.

    Raises:
        ConfigError: If a name matches nothing, or a role in some of the layers only.
    """
    if target_modules is None:
        return default
    sites = {role: backbone.sites(role) for role in LINEAR_ROLES}
    if not isinstance(target_modules, str):
        named = list(target_modules)
        if all(name in LINEAR_ROLES for name in named):
            return tuple(named)
        for name in named:
            _check_known(name, [site for found in sites.values() for site in found])
    chosen = []
    for role, found in sites.items():
        hits = [_is_meant(target_modules, site) for site in found]
        if any(hits) and not all(hits):
            raise ConfigError(
                f"target_modules must mean a projection in every layer or in none, got {target_modules!r}, "
                f"which means {role!r} in {sum(hits)} of {len(hits)} layers."
            )
        chosen += [role] if any(hits) else []
    if not chosen:
        raise ConfigError(
            f"target_modules must mean a projection of the model's layers, got {target_modules!r}."
            + near_match(
                str(target_modules), _names(site for one in sites.values() for site in one)
            )
        )
    return tuple(chosen)


def _is_meant(target_modules: Sequence[str] | str, site: Site) -> bool:
    if isinstance(target_modules, str):
        return re.fullmatch(target_modules, site.path) is not None
    return any(name == site.role or f".{site.path}".endswith(f".{name}") for name in target_modules)


def _check_known(name: str, sites: list[Site]) -> None:
    if not any(_is_meant([name], site) for site in sites):
        raise ConfigError(
            f"target_modules must name projections of the model's layers, got {name!r}."
            + near_match(name, _names(sites))
        )


def _names(sites: Iterable[Site]) -> set[str]:
    listed = list(sites)
    return {site.role for site in listed} | {site.path.rpartition(".")[2] for site in listed}
