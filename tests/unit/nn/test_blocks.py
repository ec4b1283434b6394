"""A factored vector: the product z P, multiplied out once in a generation and anew in the next."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.nn.blocks import FreeVector, scale, shift
from tests.tiny import build_method


def made(vector: FreeVector) -> Tensor:
    made: Tensor = vector()
    return made


def test_it_starts_at_its_constant_and_is_z_p() -> None:
    vector = FreeVector(5, start=1.0, r=3)
    assert torch.equal(made(vector), torch.ones(5))
    with torch.no_grad():
        vector.projection.normal_()
    assert torch.equal(made(vector), vector.inner @ vector.projection)
    with torch.no_grad():
        assert made(vector).shape == (5,), "it stands alone, so nothing is kept"


@contextmanager
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Count the products by the vectors' paths."""
    paths: list[str] = []
    plain = FreeVector._product

    def product(self: FreeVector) -> Tensor:
        paths.append(self.path)
        return plain(self)

    with monkeypatch.context() as patch:
        patch.setattr(FreeVector, "_product", product)
        yield paths


@pytest.mark.parametrize("name", ["ia3", "bitfit"])
def test_a_generation_multiplies_out_each_vector_once(
    tiny_backbone: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    torch.manual_seed(0)  # other vectors may write the same text
    model = AdaptedModel(tiny_backbone, build_method(name, r=2)).eval()
    vectors = [one for one in model.adapter.modules() if isinstance(one, FreeVector)]
    assert len({one.path for one in vectors}) == len(vectors) > 0
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])

    def generate(beams: int) -> Tensor:
        with model.context(torch.ones_like(ids, dtype=torch.bool)).active() as context:
            if beams > 1:
                context.expand(beams)
            told: Tensor = tiny_backbone.model.generate(
                input_ids=ids, max_new_tokens=4, num_beams=beams, do_sample=False, eos_token_id=None
            )
        return told

    for beams in (1, 2):
        with counted(monkeypatch) as paths:
            first = generate(beams)
        assert sorted(paths) == sorted(one.path for one in vectors)
        with torch.no_grad():
            for one in vectors:
                one.projection.normal_(0.0, 3.0)
        assert not torch.equal(generate(beams), first), "trained on, it is another vector"
    model.remove()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("rows", [1, 3])
def test_without_gradients_the_bits_are_those_of_training(dtype: torch.dtype, rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    x_BTO = torch.randn(3, 5, 33, generator=generator).to(dtype)
    vector = 1 + torch.randn(rows, 1, 33, generator=generator)
    for change, wanted in ((scale, x_BTO.float() * vector), (shift, x_BTO.float() + vector)):
        trained = change(x_BTO, vector)
        with torch.no_grad():
            given = x_BTO.clone()
            decoded = change(given, vector)
        assert torch.equal(trained, wanted.to(dtype))
        assert torch.equal(trained, decoded)
        assert decoded.dtype == dtype
        assert decoded.data_ptr() == given.data_ptr(), "no new memory"


def test_with_gradients_the_given_tensor_stays_and_the_vector_learns() -> None:
    x, vector = torch.full((2, 3), 2.0), torch.ones(3, requires_grad=True)
    scale(x, vector).sum().backward()
    assert torch.equal(x, torch.full((2, 3), 2.0))
    assert vector.grad is not None
    assert torch.equal(vector.grad, torch.full((3,), 4.0))
