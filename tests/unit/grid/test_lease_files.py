"""The files of leases: a form that does not change, and none that is half-written."""

import json
import resource
from pathlib import Path

import pytest

from pedro_bench.errors import RecordError
from pedro_bench.grid.leases import Leases

RUN = "lora--sst2--tiny--0123456789ab--seed0"


def test_a_lease_that_is_written_in_part_is_one_sentence_and_held_by_nobody(tmp_path: Path) -> None:
    """A bound on the size of files lets the system write a part of it and say no error."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
    try:
        with pytest.raises(RecordError, match="must be writable, got File too large"):
            Leases(tmp_path, 60).take(RUN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Leases(tmp_path, 60).leased_stems() == set()


def test_other_versions_of_the_package_read_and_write_the_same_files(tmp_path: Path) -> None:
    """Workers of older code may share a folder: the form of a lease's file does not change."""
    lease = Leases(tmp_path, 7.5, command="a command").take(RUN, saved_steps=20)
    assert lease is not None
    text = (tmp_path / "leases" / f"{RUN}.1").read_text()
    owner = json.loads(text[12:])["owner"]
    assert list(owner) == ["host", "boot", "pid", "birth", "word"]
    assert text[12:] == (
        f'{{"owner": {json.dumps(owner)}, "seconds": 7.5, "grid": "a command", "crashes": 0, "steps": 20}}\n'
    )
    assert text[:12].isdecimal()
    lease.release(is_done=False)
    assert (tmp_path / "leases" / f"{RUN}.2").read_text() == (
        f"{0:012d}"
        + '{"owner": null, "seconds": 0.0, "grid": "a command", "crashes": 0, "steps": 20}\n'
    )
