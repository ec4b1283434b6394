from dataclasses import replace

import pytest

from pedro_bench.data import micro
from pedro_bench.data.micro_source import MicroSource
from pedro_bench.data.splits import load_splits
from pedro_bench.errors import ConfigError, DataError


@pytest.mark.parametrize("name", micro.TASKS)
def test_every_micro_task_becomes_three_splits(name, make_task):
    splits = load_splits(make_task(name), MicroSource(name="micro"))
    assert splits.train.rows > splits.test.rows > 0
    assert splits.dev.rows > 0
    assert splits.duplicates_removed == 0


def test_places_name_split_and_row(make_task):
    rows = MicroSource(name="micro").read(make_task("copa"))
    assert rows["dev"][2].place == "micro dev row 3"


def test_fingerprint_follows_seed_and_task(make_task):
    first = MicroSource(name="micro").fingerprint(make_task("copa"))
    assert first == MicroSource(name="micro").fingerprint(make_task("copa"))
    assert first != MicroSource(name="micro", seed=1).fingerprint(make_task("copa"))
    assert first != MicroSource(name="micro").fingerprint(make_task("rte"))


def test_unknown_task(make_task):
    task = replace(make_task("copa"), name="copal")
    with pytest.raises(DataError, match=r"one that the micro world has, got 'copal'.*mean 'copa'"):
        MicroSource(name="micro").fingerprint(task)


def test_settings_check_themselves():
    with pytest.raises(ConfigError, match=r"data.seed must be .* at least 0, got -1"):
        MicroSource(name="micro", seed=-1)
    with pytest.raises(ConfigError, match=r"data.holdout must be null with data=micro, got 0.2"):
        MicroSource(name="micro", holdout=0.2)
