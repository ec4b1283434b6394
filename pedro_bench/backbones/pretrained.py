"""`Pretrained`: what every YAML of `conf/backbone` builds, whichever the architecture's family.

It says where configuration, tokenizer and weights come from (a folder, the Hub, a GGUF file, random weights)
and how they are loaded; what depends on the architecture is in `families/`. It is cheap: it imports neither
torch nor transformers before `load`.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedro_bench import checks
from pedro_bench.backbones import adapters, folders, quantising, wheels
from pedro_bench.backbones.family import family_of
from pedro_bench.backbones.source import Source
from pedro_bench.errors import BackboneError, ConfigError
from pedro_bench.protocols.backbone import Backbone, BackboneShape

if TYPE_CHECKING:
    from pedro_bench.protocols.backbone import LoadedBackbone

DTYPES = ("float32", "bfloat16", "float16")
ATTENTION_IMPLEMENTATIONS = ("sdpa", "eager", "flash_attention_2")
EMBEDDED, EMBEDDED_PATH = "micro", "package:micro_weights"
"""Name and path of the backbone that is installed with this package."""
STAND_IN_TOKENIZER = EMBEDDED_PATH
"""Tokenizer of a model with random weights that has none of its own: speed does not depend on the text."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, kw_only=True)
class Pretrained(Backbone):
    """A backbone of Transformers, of any family in `families/`.

    Attributes:
        path: Local folder, `package:<folder>` for weights installed with this package, GGUF file, or
            Hub id (`owner/name`). None is allowed until the backbone is used, or with random weights.
        revision: Commit of the Hub repository, 40 hexadecimal digits; it does not apply to local
            folders, whose content is hashed instead.
        dtype: One of DTYPES; None: float32 on the CPU, bfloat16 on a GPU.
        quantization: One of `quantising.QUANTIZATIONS` for linear layers of few bits (extra
            `quantization`), or None. The other weights have `dtype`.
        attn_implementation: One of ATTENTION_IMPLEMENTATIONS, as in Transformers.
        random_weights: Build the true shape with random weights; nothing is downloaded.
        random_seed: Seed of these weights.
        architecture: The entries of a `config.json` that fix the shape; needed for a shape without
            the repository's own configuration, and for random weights.
        tokenizer_path: Local folder of another tokenizer; None: the backbone's own. With random
            weights and no folder, the micro backbone's tokenizer stands in.
        hub_id: Hub id of the same model at `revision`, where `path` is local: what
            `scripts/prefetch.py from=hub` downloads.
        wheel: The wheel of the package index that brings `path`, see `wheels.KEYS`.
        adapter: Folder of a peft LoRA checkpoint that is merged into the weights when they are loaded
            (extra `peft`), or None.
    """

    path: str | None = None
    revision: str | None = None
    dtype: str | None = None
    quantization: str | None = None
    attn_implementation: str = "sdpa"
    random_weights: bool = False
    random_seed: int = 0
    architecture: Mapping[str, Any] | None = field(default=None, hash=False)
    tokenizer_path: str | None = None
    hub_id: str | None = None
    wheel: Mapping[str, str] | None = field(default=None, hash=False)
    adapter: str | None = None

    def __post_init__(self) -> None:
        checks.text("backbone.name", self.name)
        checks.text("backbone.label", self.label)
        checks.text("backbone.path", self.path, optional=True)
        checks.text("backbone.tokenizer_path", self.tokenizer_path, optional=True)
        checks.text("backbone.hub_id", self.hub_id, optional=True)
        checks.text("backbone.adapter", self.adapter, optional=True)
        if self.wheel is not None:
            object.__setattr__(self, "wheel", wheels.check(_plain(self.wheel)))
        if self.dtype is not None:
            checks.choice("backbone.dtype", self.dtype, DTYPES)
        if self.quantization is not None:
            checks.choice("backbone.quantization", self.quantization, quantising.QUANTIZATIONS)
        checks.choice(
            "backbone.attn_implementation", self.attn_implementation, ATTENTION_IMPLEMENTATIONS
        )
        checks.flag("backbone.random_weights", self.random_weights)
        checks.integer("backbone.random_seed", self.random_seed, least=0)
        if self.revision is not None and not _COMMIT.fullmatch(str(self.revision)):
            raise ConfigError(
                "backbone.revision must be a commit of 40 hexadecimal digits or null, got "
                f"{self.revision!r}: a branch or tag may move, so its results could not be "
                "repeated."
            )
        if self.architecture is not None:
            object.__setattr__(self, "architecture", _plain(self.architecture))
            self._check_architecture()

    def _check_architecture(self) -> None:
        if not isinstance(self.architecture, Mapping) or not self.architecture.get("model_type"):
            raise ConfigError(
                "backbone.architecture must be a mapping with a model_type such as llama, got "
                f"{self.architecture!r}."
            )

    def shape(self) -> BackboneShape:
        """Read the sizes from the configuration alone.

        What lies on this machine comes first, then the YAML's mapping, then the Hub's file.
        Torch is imported only for an architecture whose family cannot read its sizes, which is
        built without memory on the meta device and measured.

        Raises:
            BackboneError: If no configuration can be found, or no family takes it.
        """
        mapping, source = self.configuration()
        known = family_of(str(mapping.get("model_type"))).read_shape(mapping, source)
        if known is not None:
            return known
        from pedro_bench.backbones.loading import measure_config

        return measure_config(mapping, source)

    def family_version(self) -> tuple[str, int]:
        """Return name and version of the family that takes the configuration's `model_type`.

        Raises:
            BackboneError: If no configuration can be found.
        """
        mapping, _ = self.configuration()
        family = family_of(str(mapping.get("model_type")))
        return family.name, family.version

    def configuration(self) -> tuple[dict[str, Any], str]:
        """Return the configuration mapping in use, and where it comes from.

        Raises:
            BackboneError: If no configuration can be found; with the remedy.
        """
        return self.source.configuration(self.architecture)

    def identity(self) -> str:
        """Return what decides weights and tokenizer.

        A local folder: SHA-256 over every byte of configuration, tokenizer and weights. A GGUF file:
        that of the file. A Hub id: path and commit. Random weights: the configuration and the seed. Then
        the hash of an adapter that is merged, and how the weights are quantised, where they are.

        Raises:
            BackboneError: If the folder is missing or not whole, a Hub id has no pinned commit, or the
                adapter is none.
        """
        if self.random_weights:
            mapping, _ = self.configuration()
            weights = f"random:{self.random_seed}:{_hash_of(mapping)}"
        else:
            weights = self.source.identity()
        if self.adapter is not None:
            weights = f"{weights} adapter:{adapters.adapter_hash(self.adapter)}"
        if self.quantization is not None:
            quantising.require_extra(self.quantization)
            weights = f"{weights} {self.quantization}"
        other = self.tokenizer_folder()
        if other is None:
            return weights
        return f"{weights} tokenizer:{folders.folder_hash(other, with_weights=False)}"

    def check_name(self) -> None:
        """Require another name than the embedded backbone's for other weights.

        Raises:
            ConfigError: If they have its name.
            BackboneError: If `path` holds no weights.
        """
        if self.name != EMBEDDED:
            return
        if self.adapter is not None:
            given = f"backbone.adapter={self.adapter}"
        elif self.random_weights:
            given = "backbone.random_weights=true"
        elif self.path != EMBEDDED_PATH and self.source.identity() != _embedded_identity():
            given = f"backbone.path={self.path}"
        else:
            return
        raise ConfigError(
            f"backbone.name must be another than {EMBEDDED!r}, the embedded backbone's, for other weights, "
            f"got {given!r}: add backbone.name=NAME and backbone.label=NAME, with which records and tables "
            "show it, or take backbone=causal_lm."
        )

    def tokenizer_folder(self) -> Path | None:
        """Return the folder of a tokenizer other than the backbone's own, if one is to be used.

        Raises:
            BackboneError: If the folder holds no tokenizer.
        """
        chosen = self.tokenizer_path
        if chosen is None and self.random_weights:
            own = self.source.local()
            chosen = (
                str(own) if own is not None and folders.has_tokenizer(own) else STAND_IN_TOKENIZER
            )
        if chosen is None:
            return None
        folder = folders.local_folder(chosen)
        if folder is None or not folders.has_tokenizer(folder):
            raise BackboneError(
                "backbone.tokenizer_path must be a local folder with a tokenizer, got "
                f"{chosen!r}: give a folder that holds tokenizer.json or tokenizer.model."
            )
        return folder

    def load_tokenizer(self) -> Any:
        """Load the tokenizer alone; of a Hub id, no weights are downloaded.

        Raises:
            BackboneError: If it is missing, gated or belongs to another model.
        """
        from pedro_bench.backbones.loading import load_tokenizer

        folder = self.tokenizer_folder() or self.source.tokenizer_folder()
        return load_tokenizer(folder, self.shape())

    def load(self, *, device: str) -> "LoadedBackbone":
        """Load weights and tokenizer, frozen and in evaluation mode.

        A tokenizer without a padding token pads with its unknown token, or else with its
        end-of-sequence token; attention masks and labels make padding harmless either way.

        Args:
            device: `cpu`, `cuda`, `cuda:0` ….

        Raises:
            BackboneError: If the weights are missing, gated or damaged, or no family takes them.
            ConfigError: If PyTorch does not find the device.
        """
        from pedro_bench.backbones.loading import build_random, load_folder
        from pedro_bench.backbones.refusals import require_device

        require_device(device)
        if self.random_weights:
            mapping, source = self.configuration()
            return build_random(self, mapping, source, device)
        return load_folder(self, self.source.weights_folder(), self.identity(), device)

    @property
    def source(self) -> Source:
        """Where the weights come from."""
        return Source(self.name, self.path, self.revision, self.wheel)


def _embedded_identity() -> str:
    """Return what decides the embedded backbone's weights and tokenizer."""
    return Source(EMBEDDED, EMBEDDED_PATH, None, None).identity()


def _plain(value: Any) -> Any:
    """Turn mappings and sequences of any class into dicts and lists."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return value
    return [_plain(item) for item in value]


def _hash_of(mapping: Mapping[str, Any]) -> str:
    """Hash a mapping whatever the order of its entries."""
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()
