import pytest
import torch

from pedro_bench.errors import ContextError
from pedro_bench.nn.adapted_model import AdaptedModel
from pedro_bench.runs.saved_run import SavedRun
from pedro_bench.runs.vectors import prompt_vectors, similarity
from tests.tiny import build_method

CONFIG = {"task": {"max_new_tokens": 2}, "trainer": {"max_length": 64}, "evaluation": {}}
PROMPTS = ["a cat sat on the mat", "a good film", "a cat sat on the mat"]


@pytest.fixture
def saved(tiny_backbone):
    def make(method):
        torch.manual_seed(0)
        return SavedRun(AdaptedModel(tiny_backbone, build_method(method)).eval(), CONFIG)

    return make


def test_vectors_start_at_one_and_differ_between_prompts_once_trained(saved):
    run = saved("pedro")
    start = prompt_vectors(run, PROMPTS)
    assert list(start) == [1, 2]
    assert [tuple(part.shape) for part in start[1]] == [(3, 32), (3, 16), (3, 48)]
    assert all(bool((part == 1).all()) for parts in start.values() for part in parts)
    for name, parameter in run.adapted.adapter.named_parameters():
        if name.endswith(".up"):
            torch.nn.init.normal_(parameter)
    vectors = prompt_vectors(run, PROMPTS)
    assert torch.equal(vectors[1][0][0], vectors[1][0][2])
    cosines = similarity(vectors[2])
    assert cosines[0, 2].item() == pytest.approx(1, abs=1e-5)
    assert cosines[0, 1].item() < 0.999


def test_a_method_without_generators_is_refused(saved):
    with pytest.raises(ContextError, match="makes vectors from prompts, got 'lora'"):
        prompt_vectors(saved("lora"), PROMPTS)
