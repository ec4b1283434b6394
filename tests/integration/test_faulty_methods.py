"""Mistakes in a method's own code: each is refused in one sentence that says where to look."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pedro_bench
from pedro_bench import records
from pedro_bench.errors import InjectionError, TrainingError
from pedro_bench.grid import plan, run
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.protocols.backbone import BackboneShape, Site
from pedro_bench.protocols.head import Head
from pedro_bench.protocols.method import Injection, Method, ParameterCount
from pedro_bench.protocols.settings import Settings
from pedro_bench.training.saved_folder import working_folder


class Vector(nn.Module):
    """One trained vector, at zero."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.vector = nn.Parameter(torch.zeros(size))

    def forward(self) -> Tensor:
        return self.vector


@dataclass(frozen=True, kw_only=True)
class Vectors(Method):
    """Adds a vector to what each feed-forward network writes: 2 layers of 32."""

    name: str = "vectors"
    label: str = "Vectors"

    def count(self, shape: BackboneShape) -> ParameterCount:
        total = sum(width.outputs for _, _, width in shape.each(("ffn_down",)))
        return ParameterCount(matrices=total, trainable=total)

    def attach(self, injection: Injection) -> None:
        for site in injection.sites(("ffn_down",)):
            vector = injection.add(f"layers.{site.layer}.vector", Vector(site.outputs))
            self.wire(injection, site, vector)

    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: output + vector())


class CountsFive(Vectors):
    def count(self, shape: BackboneShape) -> ParameterCount:
        return ParameterCount(matrices=5, trainable=5)


class CountsNoMatrices(Vectors):
    def count(self, shape: BackboneShape) -> ParameterCount:
        return replace(super().count(shape), matrices=0)


class AddsNothing(Vectors):
    def attach(self, injection: Injection) -> None:
        for site in injection.sites(("ffn_down",)):
            self.wire(injection, site, Vector(site.outputs))


class TrainsOneLayer(Vectors):
    """Counts and adds all vectors, and gives the optimiser the first."""

    def parameter_groups(self, adapter: nn.Module) -> dict[str, list[nn.Parameter]]:
        return {"weights": list(adapter.parameters())[:1]}


@dataclass(frozen=True, kw_only=True)
class Searching(Vectors):
    """Searches with one vector a layer for a structure that has three times as many."""

    structure: str | None = None
    counts_last_phase = True

    def count(self, shape: BackboneShape) -> ParameterCount:
        return ParameterCount(matrices=192, trainable=192)

    def following(self, adapter: nn.Module) -> Method | None:
        return None if self.structure else replace(self, structure="found")


class SearchesForNothing(Searching):
    def following(self, adapter: nn.Module) -> Method | None:
        return None


class Unused(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        pass


class Detached(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: output + vector().detach())


class HalfUsed(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        if site.layer == 0:
            super().wire(injection, site, vector)


class NotANumber(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: output + vector() / 0)


class RootAtZero(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: output + vector().sqrt())


class CutsOutput(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: (output + vector())[..., :5])


class DropsTokens(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: (output + vector())[:, :2])


class AnswersNothing(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_output(site, lambda _, output: None)  # type: ignore[arg-type, return-value]


class CutsInput(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        injection.on_input(site, lambda given: given[..., :5] + vector()[:5])


class NoArguments(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        (attention, *_) = injection.sites(("attention",))
        injection.on_arguments(attention, lambda _: None)  # type: ignore[arg-type, return-value]


class MovesBackbone(Vectors):
    def wire(self, injection: Injection, site: Site, vector: Vector) -> None:
        weight: Any = site.module.weight

        def change(_: Tensor, output: Tensor) -> Tensor:
            weight.data.mul_(1.01)
            return output + vector()

        injection.on_output(site, change)


@pytest.fixture
def settings_with(few_steps: Callable[..., Settings]) -> Callable[[Method], Settings]:
    """A function that gives settings of two steps of a tiny Llama with a method."""
    return lambda method: replace(few_steps(), method=method)


@pytest.mark.parametrize(
    ("method", "numbers"),
    [
        (CountsFive(), "got 64 that it attached and 5 counted"),
        (AddsNothing(), "got 0 that it attached and 64 counted"),
        (TrainsOneLayer(), "got 32 that it attached and 64 counted"),
        (CountsNoMatrices(), "got 0 of 64: correct `matrices`"),
    ],
)
def test_a_wrong_count_is_refused_with_both_numbers(
    tiny_backbone: Any, method: Method, numbers: str
) -> None:
    adapted = AdaptedModel(tiny_backbone, method)
    with pytest.raises(InjectionError, match=numbers):
        adapted.check_count()


def test_a_right_count_is_the_methods_alone_without_the_head(load_tiny: Callable[..., Any]) -> None:
    adapted = AdaptedModel(load_tiny("bert"), Vectors(), Head(labels=("yes", "no")))
    assert adapted.num_head_parameters > 0
    adapted.check_count()
    adapted.remove()


def test_no_run_begins_with_a_wrong_count(
    settings_with: Callable[[Method], Settings], tmp_path: Path
) -> None:
    with pytest.raises(InjectionError, match="must train as many parameters as its `count` says"):
        run(settings_with(CountsFive()))
    assert not list((tmp_path / "results").rglob("*.json"))


@pytest.mark.parametrize("method", [Searching(), SearchesForNothing()])
def test_the_count_of_a_search_is_asked_of_what_it_found(
    settings_with: Callable[[Method], Settings], method: Method
) -> None:
    (record,) = run(settings_with(method))
    assert record["status"] == "failed"
    assert "got 64 that it attached and 192 counted" in record["error"]
    assert not record["phases"]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (
            Unused(),
            r"got no gradient for any of layers\.0\.vector\.vector, layers\.1\.vector\.vector: ",
        ),
        (
            Detached(),
            r"got no gradient for any of layers\.0\.vector.*, without detach\(\) or no_grad",
        ),
        (
            NotANumber(),
            r"got nan at step 1, before any update: the backbone without the method has a",
        ),
        (
            RootAtZero(),
            r"gradient norm must be finite, got inf at step 1, .*the loss is finite, so",
        ),
        (
            CutsOutput(),
            r"from its on_output at 'ffn_down' of layer 0, got shape \(\d+, \d+, 5\)\.$",
        ),
        (
            DropsTokens(),
            r"from its on_output at 'ffn_down' of layer 0, got shape \(\d+, 2, 32\)\.$",
        ),
        (AnswersNothing(), r"layer 0, got NoneType \(return the output as it is where nothing"),
        (CutsInput(), r"from its on_input at 'ffn_down' of layer 0, got shape \(\d+, \d+, 5\)\.$"),
        (
            NoArguments(),
            r"must return a mapping of .* from its on_arguments at 'attention' of layer 0",
        ),
    ],
)
def test_a_run_with_a_fault_fails_in_one_sentence(
    settings_with: Callable[[Method], Settings],
    caplog: pytest.LogCaptureFixture,
    method: Method,
    sentence: str,
) -> None:
    settings = settings_with(method)
    (record,) = run(settings)
    assert record["status"] == "failed"
    assert re.search(sentence, record["error"]), record["error"]
    assert "Traceback" not in caplog.text
    (after,) = run(replace(settings, method=Vectors()))
    assert after["status"] == "finished", "the backbone is free again"


def test_parameters_that_the_first_loss_does_not_reach_are_named(
    settings_with: Callable[[Method], Settings], caplog: pytest.LogCaptureFixture
) -> None:
    (record,) = run(settings_with(HalfUsed()))
    assert record["status"] == "finished", record["error"]
    (warning,) = [one for one in caplog.messages if "no gradient" in one]
    assert warning.endswith("no gradient in the first step: layers.1.vector.vector.")


def test_a_backbone_that_a_method_left_changed_is_used_no_more(
    settings_with: Callable[[Method], Settings], tmp_path: Path
) -> None:
    right = settings_with(Vectors())
    (before,) = run(right)
    with pytest.raises(TrainingError, match="must leave the backbone as it was, got other weights"):
        run(settings_with(MovesBackbone()))
    failed = [
        one
        for one in map(records.read, records.find(tmp_path / "results"))
        if one.status == "failed"
    ]
    assert [(one.metrics, one.predictions, one.phases) for one in failed] == [({}, None, [])]
    assert "got other weights" in str(failed[0].error)
    assert not list((tmp_path / "outputs").rglob("checkpoint-*")), "trained on other weights"
    assert not list((tmp_path / "outputs").rglob(f"{failed[0].stem}/adapter"))
    (after,) = run(replace(right, rerun=True))
    assert [after[name] for name in ("history", "metrics")] == [
        before[name] for name in ("history", "metrics")
    ]


def test_a_backbone_is_loaded_anew_after_a_method_that_could_not_be_attached(
    settings_with: Callable[[Method], Settings],
) -> None:
    class Counted(MovesBackbone):
        def count(self, shape: BackboneShape) -> ParameterCount:
            return ParameterCount(matrices=5, trainable=5)

        def attach(self, injection: Injection) -> None:
            super().attach(injection)
            for site in injection.sites(("ffn_down",)):
                weight: Any = site.module.weight
                weight.data.mul_(1.01)

    right = settings_with(Vectors())
    (before,) = run(right)
    with pytest.raises(InjectionError, match="must train as many parameters"):
        run(settings_with(Counted()))
    (after,) = run(replace(right, rerun=True))
    assert after["history"] == before["history"]


def test_a_run_whose_adapter_cannot_be_saved_has_no_scores(
    settings_with: Callable[[Method], Settings], tmp_path: Path
) -> None:
    settings = settings_with(Vectors())
    [(_, path, _)] = plan(settings)
    folder = working_folder(settings, path)
    folder.mkdir(parents=True)
    (folder / "adapter").write_text("in the way")
    (record,) = run(settings)
    assert "must be writable and have free space" in record["error"]
    assert (record["status"], record["metrics"], record["predictions"]) == ("failed", {}, None)
    assert not records.predictions_path(path).exists()
    frame = pedro_bench.results(settings.results_dir)
    assert frame["score"].isna().all()
    (folder / "adapter").unlink()
    (again,) = run(replace(settings, retry=True))
    assert again["status"] == "finished"
