"""Gates under a budget: the shift, the greedy choice, the noise and its state."""

import pytest
import torch

from pedro_bench.methods.ssp.gates import BudgetGates, solve_shift

SIZES = (64, 48, 160, 7, 96)


def gates(budget: int = 150, beta: float = 1.0, seed: int = 0) -> BudgetGates:
    torch.manual_seed(seed)
    made = BudgetGates([f"c{index}" for index in range(5)], SIZES, budget=budget, beta=beta)
    with torch.no_grad():
        made.alpha.copy_(torch.tensor([0.3, -1.0, 2.0, 0.1, 0.3]))
    return made


def test_equal_alphas_share_the_budget_equally() -> None:
    made = BudgetGates(["a", "b"], [30, 10], budget=10, beta=1.0)
    torch.testing.assert_close(made.probabilities(), torch.tensor([0.25, 0.25]))


@pytest.mark.parametrize("budget", [8, 150, 374])
@pytest.mark.parametrize("beta", [0.05, 1.0, 3.0])
def test_probabilities_meet_the_budget(budget: int, beta: float) -> None:
    made = gates(budget, beta)
    expected = (made.probabilities().detach() * torch.tensor(SIZES)).sum()
    torch.testing.assert_close(expected, torch.tensor(float(budget)), rtol=1e-5, atol=0)


def test_shift_holds_for_alphas_far_apart() -> None:
    alpha, sizes = torch.tensor([-4e3, 0.0, 5e3]), torch.tensor([10, 20, 30])
    shift = solve_shift(alpha, sizes, 40.0, 1.0)
    p = torch.sigmoid(alpha.double() - shift)
    torch.testing.assert_close((p * sizes).sum(), torch.tensor(40.0).double())


def test_raising_one_alpha_lowers_the_others() -> None:
    made = gates()
    (gradient,) = torch.autograd.grad(made.probabilities()[1], made.alpha)
    assert gradient[1] > 0
    assert all(gradient[index] < 0 for index in (0, 2, 3, 4))


def test_choice_passes_over_what_does_not_fit_and_keeps_the_order_of_equals() -> None:
    # By alpha: c2 (160), c0 (64), c4 (96, as c0), c3 (7), c1 (48).
    assert gates(280).chosen() == ("c0", "c1", "c2", "c3")
    assert gates(150).chosen() == ("c0", "c1", "c3")
    assert gates(7).chosen() == ("c3",)


def test_noise_is_drawn_for_each_step_and_absent_outside_training() -> None:
    made = gates()
    first = made()
    assert torch.equal(made(), first)
    made.draw_noise()
    assert not torch.equal(made(), first)
    assert torch.equal(made.eval()(), made.probabilities())


def test_noise_goes_on_from_its_state() -> None:
    made, other = gates(), gates(seed=1)
    made.draw_noise()
    other.load_runtime_state(made.runtime_state())
    assert torch.equal(made(), other())
    made.draw_noise()
    other.draw_noise()
    assert torch.equal(made(), other())
