"""The training benchmark: both sides alike, in turns, and what of each is timed."""

import pytest


def test_steps_alone_are_timed_on_both_sides(load_script, load_tiny, monkeypatch):
    """A clock that moves by 1 in a step and by 1000 in all that is none."""
    from transformers import Trainer

    from pedro_bench.protocols.batch import Encoded
    from pedro_bench.training.loop import TrainingLoop
    from tests.tiny import build_method

    script = load_script("benchmark_training_sides")
    time = [0.0]
    monkeypatch.setattr(script.meter, "now", lambda _: time[0])

    def taking(seconds: float, owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def slower(*given, **options):
            time[0] += seconds
            return plain(*given, **options)

        monkeypatch.setattr(owner, name, slower)

    for owner, names in (
        (TrainingLoop, ("__init__", "_start", "_evaluate", "_save", "_result")),
        (Trainer, ("_inner_training_loop", "_finalize_training")),
    ):
        for name in names:
            taking(1000, owner, name)
    taking(1, TrainingLoop, "_step")
    taking(1, Trainer, "training_step")
    rows = [Encoded((4, 5, 6 + index), (7, 2), index) for index in range(6)]
    backbone = load_tiny()
    for side in (script.theirs, script.ours):
        measured = side(backbone, build_method("lora"), rows, 2, 0)
        assert measured.seconds == 2, "three steps; the first began before its forward pass"
        assert measured.peak_bytes > 0
        assert measured.loss_before > measured.loss > 0


def test_from_one_start_and_with_rows_whose_order_says_nothing_both_sides_end_alike(
    load_script, load_tiny, monkeypatch
):
    """Rate, schedule, optimiser, clipping and the loss's mean are the same: only draws tell them apart."""
    import torch

    from pedro_bench.protocols.batch import Encoded
    from tests.tiny import build_method

    script = load_script("benchmark_training_sides")
    monkeypatch.setattr(script, "_LR", 1e-2)

    def start(tensor, *given, **options):
        with torch.no_grad():
            places = torch.arange(tensor.numel()).reshape(tensor.shape)
            return tensor.copy_((places % 7 - 3) / (3 * tensor.shape[1] ** 0.5))

    monkeypatch.setattr(torch.nn.init, "kaiming_uniform_", start)
    rows = [Encoded((4, 5, 6), (7, 2), index) for index in range(24)]
    backbone, lora = load_tiny(), build_method("lora")
    mine = script.ours(backbone, lora, rows, 2, 0)
    peer = script.theirs(backbone, lora, rows, 2, 1)
    assert mine.loss_before == pytest.approx(peer.loss_before, rel=1e-5)
    assert mine.loss < 0.9 * mine.loss_before, "it learns, so a difference would show"
    assert mine.loss == pytest.approx(peer.loss, rel=1e-5)


def rows_of(*lengths: int):
    from pedro_bench.protocols.batch import Encoded

    return [Encoded((4,) * (length - 2), (7, 2), index) for index, length in enumerate(lengths)]


def test_the_peers_precision_does_not_stay(load_script, load_tiny, monkeypatch):
    """On a GPU the peer trains in bfloat16, which must not meet the other side's own setting."""
    import transformers

    from tests.tiny import build_method

    script = load_script("benchmark_training_sides")
    plain, made = transformers.TrainingArguments, []

    def in_bfloat16(**options):
        made.append(plain(**{**options, "bf16": True}))
        return made[-1]

    monkeypatch.setattr(transformers, "TrainingArguments", in_bfloat16)
    backbone, rows = load_tiny(), rows_of(5, 6)
    for side in (script.theirs, script.ours, script.theirs):
        assert side(backbone, build_method("lora"), rows, 2, 0).seconds > 0
    assert [one.bf16 for one in made] == [True, True]


def test_the_peer_by_length_puts_rows_of_like_length_together(load_script, load_tiny, monkeypatch):
    from tests.tiny import build_method

    script = load_script("benchmark_training_sides")
    plain, widths = script._collated, []

    def watched(items):
        widths.append(sorted(len(item["input_ids"]) for item in items))
        return plain(items)

    monkeypatch.setattr(script, "_collated", watched)
    rows = rows_of(5, 40, 6, 41, 7, 42, 8, 43, 9, 44, 10, 45)
    backbone = load_tiny()
    script.theirs(backbone, build_method("lora"), rows, 2, 0, by_length=True)
    assert sorted(widths) == [[5, 6], [7, 8], [9, 10], [40, 41], [42, 43], [44, 45]]
    widths.clear()
    script.theirs(backbone, build_method("lora"), rows, 2, 0)
    assert len(widths) == 6
    assert any(longest - shortest > 10 for shortest, longest in widths), "as they come"


def test_several_gpus_are_refused(load_script, monkeypatch):
    script = load_script("benchmark_training")
    monkeypatch.setattr(script.torch.cuda, "device_count", lambda: 4)
    script.check_one_gpu("cpu")
    with pytest.raises(
        SystemExit, match="one GPU must be visible, got 4, .* CUDA_VISIBLE_DEVICES=0"
    ):
        script.check_one_gpu("cuda")


def test_sides_take_turns_in_both_orders(load_script):
    script = load_script("benchmark_training")
    taken = []

    def side(name):
        def train(seed):
            taken.append((name, seed))
            return script.Measured(1.0, 1, 1.0, 1.0)

        return train

    sides = {name: side(name) for name in "abc"}
    assert set(script.in_turns(sides, 0)) == set(script.in_turns(sides, 1)) == set("abc")
    assert taken == [*((name, 0) for name in "abc"), *((name, 1) for name in "cba")]


def test_ours_stands_against_the_peer_with_and_without_grouping(load_script):
    script = load_script("benchmark_training")

    def repeat(plain: float, grouped: float, own: float) -> dict:
        seconds = {"lora, peer": plain, "lora, peer by length": grouped, "lora": own}
        return {
            name: script.Measured(one, int(100 * one), 10.0, 2.0) for name, one in seconds.items()
        }

    made = script.summary([repeat(4.0, 3.0, 2.0), repeat(9.0, 6.0, 3.0)], tokens=50)
    assert list(made) == ["lora, peer", "lora, peer by length", "lora"]
    assert made["lora"]["tokens_per_second"] == 20.0
    assert (made["lora"]["loss before"], made["lora"]["loss after"]) == (10.0, 2.0)
    assert made["lora"]["losses after"] == [2.0, 2.0]
    assert made["lora, peer"]["against"] == {}
    assert made["lora"]["against"] == {
        "lora, peer": pytest.approx(
            {"speed": 2.5, "lowest": 2.0, "highest": 3.0, "memory": (1 / 2 + 1 / 3) / 2}
        ),
        "lora, peer by length": pytest.approx(
            {"speed": 1.75, "lowest": 1.5, "highest": 2.0, "memory": (2 / 3 + 1 / 2) / 2}
        ),
    }


def test_what_grouping_saves_is_counted_over_many_batches(load_script):
    script = load_script("benchmark_training_gains")
    lengths = [1, 9, 2, 8]
    assert script.positions(lengths, script.together(lengths, 2, by_length=False)) == 2 * (9 + 8)
    assert script.positions(lengths, script.together(lengths, 2, by_length=True)) == 2 * (2 + 9)
    saved = [script.padding_saved(batch) for batch in script.BATCH_SIZES]
    assert 1.3 < saved[0] < saved[1] < saved[2], "larger batches are padded more"


def test_a_measure_is_compared_within_its_repeat(load_script):
    script = load_script("benchmark_training_gains")
    seconds = {"all measures": [1.0, 2.0], "causal kernel": [1.5, 2.0]}
    made = script.ratios(seconds, lambda one, other: one / other)
    assert made["causal kernel"] == {"ratio": 1.25, "lowest": 1.0, "highest": 1.5}
    assert made["all measures"]["ratio"] == 1.0
