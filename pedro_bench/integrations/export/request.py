"""What is to be exported, and what it stands on. A request checks itself; nothing here imports torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pedro_bench import checks
from pedro_bench.backbones import folders
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import check_device

FORMATS = ("peft", "remote_code", "merged", "native")


@dataclass(frozen=True, kw_only=True)
class Request:
    """One export.

    Attributes:
        run: The run's record, or its working folder.
        format: One of FORMATS.
        out: Folder to make; there is none of that name, or an empty one.
        base: Hub id or folder by which others load the backbone; None: as the run names it.
        backbone_path: Folder in which the backbone lies now; None: where it lay.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        push: Repository of the Hub that it goes to afterwards, `USER/REPO`, or None.
        private: Whether a repository that is made is private.
        license: Licence for the model card, as the Hub writes it, or None.
    """

    run: str
    format: str
    out: str
    base: str | None = None
    backbone_path: str | None = None
    device: str = "auto"
    push: str | None = None
    private: bool = True
    license: str | None = None

    def __post_init__(self) -> None:
        checks.text("run", self.run)
        checks.choice("format", self.format, FORMATS)
        checks.text("out", self.out)
        checks.text("base", self.base, optional=True)
        checks.text("backbone.path", self.backbone_path, optional=True)
        check_device(self.device)
        checks.text("push", self.push, optional=True)
        checks.flag("private", self.private)
        checks.text("license", self.license, optional=True)
        out = Path(self.out)
        if out.name in ("", ".."):
            raise ConfigError(f"out must name a folder of its own, got {self.out!r}.")
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ConfigError(
                f"out must be a folder that is new or empty, got {self.out!r}, where something lies: choose "
                "another one."
            )


@dataclass(frozen=True)
class Base:
    """What an export stands on.

    Attributes:
        place: Hub id or folder; None where the run's backbone lies in a folder of this machine.
        revision: Commit of a Hub id, or None where none is known.
        is_on_hub: Whether `place` is a Hub id.
    """

    place: str | None
    revision: str | None
    is_on_hub: bool


def base_of(config: Mapping[str, Any], given: str | None) -> Base:
    """Return what others load as the base model of a run.

    Args:
        config: The run's backbone, as recorded.
        given: `base` as typed, or None.
    """
    if given is not None:
        return Base(given, None, folders.local_folder(given) is None)
    place = config.get("path")
    if place and not config.get("random_weights") and folders.local_folder(place) is None:
        return Base(place, config.get("revision"), True)
    return Base(None, None, False)
