"""A backbone that has moved: `load` and `serve` take its new place, and compare its content."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pedro_bench
from pedro_bench.errors import BackboneError, ConfigError, DataError
from pedro_bench.runs.saved import saved_adapter
from pedro_bench.serving import AdapterBank
from pedro_bench.training.saved_folder import Saved, read_folder, write_folder

PROMPTS = ["the cat sat on the mat", "a dog"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def trained(save_run: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path, list[str]]:
    """A run whose backbone lay in a folder that is gone; the folder's new place; the run's answers."""
    return make_trained(save_run, tmp_path, "old/models/tiny")


def make_trained(
    save_run: Callable[..., Path], tmp_path: Path, place: str
) -> tuple[Path, Path, list[str]]:
    run = save_run("pedro", 0)
    answers = pedro_bench.load(run, device="cpu").generate(PROMPTS)
    now = tmp_path / "new" / "tiny"
    shutil.copytree(read_folder(run / "adapter").state["config"]["backbone"]["path"], now)
    change(run, lambda state: state["config"]["backbone"].update(path=place))
    return run, now, answers


def change(run: Path, edit: Callable[[Any], object]) -> None:
    """Change what a run says of its backbone, as a run of another place would say it."""
    found = read_folder(run / "adapter")
    state = dict(found.state)
    edit(state)
    shutil.rmtree(run / "adapter")
    write_folder(run / "adapter", Saved(found.header, state, found.tensors))


@pytest.mark.parametrize("place", ["models/tiny", "/gone/tiny", "./tiny", "a/b/c"])
def test_a_place_that_is_gone_is_told_as_a_folder(
    save_run: Callable[..., Path], tmp_path: Path, place: str
) -> None:
    run, now, answers = make_trained(save_run, tmp_path, place)
    for use in (lambda: pedro_bench.load(run), lambda: pedro_bench.serve({"anna": run})):
        with pytest.raises(BackboneError) as caught:
            use()
        sentence = str(caught.value)
        assert sentence.startswith(f"the backbone of a run must lie in '{place}', where it lay")
        assert "backbone=<folder>" in sentence
        assert "Hub" not in sentence
        assert "commit" not in sentence
    assert pedro_bench.load(run, device="cpu", backbone=now).generate(PROMPTS) == answers


@pytest.mark.parametrize("as_type", [str, Path])
def test_the_new_place_gives_the_same_answers(
    trained: tuple[Path, Path, list[str]], as_type: Any
) -> None:
    run, now, answers = trained
    loaded = pedro_bench.load(run, device="cpu", backbone=as_type(now))
    assert loaded.generate(PROMPTS) == answers
    bank = pedro_bench.serve({"anna": run, "ben": run}, device="cpu", backbone=as_type(now))
    assert bank.generate([("anna", PROMPTS[0]), ("ben", PROMPTS[1])], max_new_tokens=4) == answers


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_another_content_is_refused_before_it_is_loaded(
    trained: tuple[Path, Path, list[str]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, now, _ = trained
    file = now / name
    content = bytearray(file.read_bytes())
    if name.endswith("json"):
        content += b"\n"
    else:
        content[-1] ^= 1
    file.write_bytes(content)
    monkeypatch.setattr("pedro_bench.backbones.pretrained.Pretrained.load", None)
    for use in (
        lambda: pedro_bench.load(run, backbone=now),
        lambda: pedro_bench.serve({"anna": run}, backbone=str(now)),
    ):
        with pytest.raises(
            BackboneError,
            match=r"the one the run was trained on \(sha256:.*got sha256:.* in .*tiny",
        ):
            use()


@pytest.mark.parametrize("place", ["nowhere", "owner/name", "/nowhere/at/all"])
def test_a_new_place_that_is_not_there(trained: tuple[Path, Path, list[str]], place: str) -> None:
    with pytest.raises(BackboneError, match=rf"lies now, got '{place}', where there is none"):
        pedro_bench.load(trained[0], backbone=place)


@pytest.mark.parametrize("place", [3, "", True, ["a"]])
def test_a_new_place_that_is_no_path(trained: tuple[Path, Path, list[str]], place: Any) -> None:
    with pytest.raises(ConfigError, match=r"backbone must be a text, not empty, got "):
        pedro_bench.load(trained[0], backbone=place)


def test_a_run_on_a_hub_id_is_found_in_a_folder_by_its_content(
    trained: tuple[Path, Path, list[str]],
) -> None:
    run, now, answers = trained

    def of_hub(state: Any) -> None:
        state["config"]["backbone"].update(path="owner/name", revision=COMMIT)
        state["backbone_revision"] = f"owner/name@{COMMIT}"

    change(run, of_hub)
    assert pedro_bench.load(run, device="cpu", backbone=now).generate(PROMPTS) == answers
    bank = pedro_bench.serve({"anna": run}, device="cpu", backbone=now)
    bank.add("ben", saved_adapter(run))
    assert bank.generate([("ben", PROMPTS[1])], max_new_tokens=4) == answers[1:]
    change(run, lambda state: state.pop("backbone_content"))
    with pytest.raises(BackboneError, match=r"content .* was not recorded, got .*owner/name@0123"):
        pedro_bench.load(run, backbone=now)


def test_the_content_of_a_hub_snapshot_is_that_of_its_files(
    tiny_folders: dict[str, Path],
) -> None:
    from pedro_bench.backbones.loading import load_folder
    from pedro_bench.backbones.pretrained import Pretrained

    folder = tiny_folders["llama"]
    for options in ({}, {"tokenizer_path": str(tiny_folders["gemma"])}):
        config = Pretrained(name="tiny", label="tiny", path=str(folder), **options)
        _, _, tokenizer = config.identity().partition(" ")
        revision = f"owner/name@{COMMIT} {tokenizer}".rstrip()
        loaded = load_folder(config, folder, revision, "cpu")
        assert loaded.revision == revision
        assert loaded.content() == config.identity()


@pytest.mark.parametrize(("words", "room"), [(60, 4), (5, 59), (200, 1)])
def test_a_prompt_that_is_too_long_says_what_helps(
    save_run: Callable[..., Path], words: int, room: int
) -> None:
    run = save_run("pedro", 0)
    prompt = "cat " * (words - 1) + "cat"  # and the beginning-of-sequence token
    loaded = pedro_bench.load(run, device="cpu")
    bank_of_one = pedro_bench.serve({"anna": run}, device="cpu")
    for use in (
        lambda: loaded.generate(["a", prompt], max_new_tokens=room),
        lambda: bank_of_one.generate([("anna", "a"), ("anna", prompt)], max_new_tokens=room),
    ):
        with pytest.raises(DataError) as caught:
            use()
        sentence = str(caught.value)
        assert sentence.startswith(
            f"prompt 1 and max_new_tokens={room} must fit into 64 tokens, got {words + 1 + room}"
        )
        assert "shorten the prompt or set a lower max_new_tokens" in sentence
        assert "trainer.max_length" not in sentence


def test_what_just_fits_is_answered(save_run: Callable[..., Path]) -> None:
    loaded = pedro_bench.load(save_run("pedro", 0), device="cpu")
    prompt = "cat " * 58 + "cat"
    assert len(loaded.generate([prompt], max_new_tokens=4)) == 1
    assert loaded.loglikelihood([(prompt, "dog dog")])[0] < 0
    with pytest.raises(
        DataError, match=r"prompt 0 and the answer must fit .*got 65: .*the answer;"
    ):
        loaded.loglikelihood([(prompt, "dog dog dog dog")])


def test_a_bank_of_ones_own_takes_no_more_than_the_backbones_positions(
    tiny_backbone: Any, make_tenant: Callable[..., Any]
) -> None:
    from tests.tiny import build_method

    bank = AdapterBank(tiny_backbone, build_method("lora"))
    assert bank.max_length == 256
    bank.close()
    assert AdapterBank(tiny_backbone, build_method("lora"), max_length=100).max_length == 100
