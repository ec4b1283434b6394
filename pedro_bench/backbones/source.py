"""Where the weights of a backbone come from: a folder, a Hub id at a commit, or a GGUF file.

Each becomes a folder that `save_pretrained` could have written, and everything after reads that. What a
path means is decided here alone; what identifies it is known before anything is loaded.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pedro_bench import files
from pedro_bench.backbones import dequantising, folders, gguf, hub, wheels
from pedro_bench.errors import BackboneError


class Source:
    """One place of weights.

    Args:
        name: The backbone's name, for messages.
        path: Folder, `package:<folder>`, GGUF file or Hub id; None where none was given.
        revision: Commit of the Hub repository, or None.
        wheel: The wheel of the package index that brings the path (`wheels.check`), or None.
    """

    def __init__(
        self, name: str, path: str | None, revision: str | None, wheel: Mapping[str, str] | None
    ) -> None:
        self._name, self._path, self._revision, self._wheel = name, path, revision, wheel

    def local(self) -> Path | None:
        """Return the folder or file a path means, or None for a Hub id or no path."""
        return folders.local_folder(self._path) if self._path is not None else None

    def configuration(self, architecture: Mapping[str, Any] | None) -> tuple[dict[str, Any], str]:
        """Return what `config.json` says, and where that comes from.

        What lies on this machine comes first, then `architecture`, then the Hub's file. A backbone of the
        package index is described by its architecture, before and after it is fetched.

        Raises:
            BackboneError: If no configuration can be found; with the remedy.
        """
        place = self.local()
        is_described = self._wheel is not None and architecture is not None
        if place is not None and not is_described:
            if gguf.is_gguf(place):
                gguf.check_file(place)
                return dequantising.read_config(place), str(place)
            self._require(place)
            return folders.read_config(place), str(place / "config.json")
        if architecture is not None:
            return dict(architecture), "backbone.architecture"
        repository, revision = self._pinned()
        return folders.read_config(
            hub.fetch_config(repository, revision)
        ), f"{repository}/config.json"

    def identity(self) -> str:
        """Return what decides weights and tokenizer.

        A folder: SHA-256 over configuration, tokenizer and weights. A GGUF file: that of the file, and
        the word that says how it is read. A Hub id: path and commit.

        Raises:
            BackboneError: If it is missing or not whole, or a Hub id has no pinned commit.
        """
        place = self._place()
        if place is None:
            return "@".join(self._pinned())
        if gguf.is_gguf(place):
            gguf.check_file(place)
            return f"{folders.HASHED}{files.sha256_of(place)} {gguf.READ_AS}"
        folders.check_folder(place)
        return f"{folders.HASHED}{folders.folder_hash(place)}"

    def weights_folder(self) -> Path:
        """Return a whole folder to load the model from.

        Raises:
            BackboneError: As `identity`, or if it cannot be fetched or read.
        """
        place = self._place()
        if place is None:
            place = hub.fetch_snapshot(*self._pinned())
        elif gguf.is_gguf(place):
            gguf.check_file(place)
            place = dequantising.dequantised(place)
        folders.check_folder(place)
        return place

    def tokenizer_folder(self) -> Path:
        """Return a folder that holds the tokenizer; of a Hub id, no weights are downloaded.

        Raises:
            BackboneError: As `weights_folder`.
        """
        place = self._place()
        if place is None:
            return hub.fetch_tokenizer(*self._pinned())
        if gguf.is_gguf(place):
            gguf.check_file(place)
            return dequantising.dequantised(place)
        return place

    def _place(self) -> Path | None:
        """Return what lies on this machine, or None for a Hub id.

        Raises:
            BackboneError: If there is no path, or what the package index brings was not fetched.
        """
        self._required_path()
        place = self.local()
        if place is not None:
            self._require(place)
        return place

    def _require(self, place: Path) -> None:
        if self._wheel is not None and not place.exists():
            raise BackboneError(
                f"the weights of backbone={self._name} must lie in {str(place)!r}, got nothing there: "
                f"fetch them once with {wheels.command(self._name)}."
            )

    def _required_path(self) -> str:
        if self._path is None:
            raise BackboneError(
                f"backbone.path must be a local folder or a Hub id for backbone={self._name}, got "
                "None: set backbone.path=<folder>, or backbone.path=<owner/name> with "
                "backbone.revision=<commit>."
            )
        return self._path

    def _pinned(self) -> tuple[str, str]:
        """Return Hub id and commit.

        Raises:
            BackboneError: If no commit is pinned.
        """
        repository = self._required_path()
        if self._revision is None:
            raise BackboneError(
                f"backbone.revision must be set to a commit for the Hub id {repository!r}, got "
                "None: set backbone.revision=<40 hexadecimal digits>, or give "
                "backbone.path=<folder> if a local folder was meant (there is none of that "
                "name)."
            )
        return repository, self._revision
