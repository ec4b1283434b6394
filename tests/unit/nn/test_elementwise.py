"""Products and sums where gradients are off: the same bits as with them, in the given memory."""

import pytest
import torch

from pedro_bench.nn.elementwise import scale, shift


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
