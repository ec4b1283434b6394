"""A worker of a grid: what it says of the folder in which GPUs are shared out."""

import os
import tempfile
from pathlib import Path

import pytest

from pedro_bench.cli.worker import pin_gpu
from pedro_bench.errors import RecordError


@pytest.mark.parametrize("setting", ["TMPDIR", "output_dir"])
def test_where_gpus_cannot_be_leased_the_remedy_is_of_that_folder(
    setting: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The advice was another results_dir, where none of these leases lie."""
    has_temporary = setting == "TMPDIR"
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path if has_temporary else tmp_path / "none"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    folder = tmp_path / (f"pedro_bench-gpus-{os.getuid()}" if has_temporary else "grid")
    folder.mkdir()
    (folder / "leases").write_text("in the way")
    rule = rf"folder {folder / 'leases'} must be writable, got .*another folder with {setting}=…\."
    with pytest.raises(RecordError, match=rule):
        pin_gpu(tmp_path / "grid")
