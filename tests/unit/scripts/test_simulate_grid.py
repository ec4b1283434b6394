"""The simulated grid is planned by the command's own code, which finds all of its records."""

from scripts import simulate_grid


def test_a_small_grid_is_found_planned_and_taken():
    row = simulate_grid.simulate(12, workers=3, latency=0.005)
    assert row.startswith("| 12 | ")
    assert len(row.split("|")) == len(simulate_grid.HEAD.splitlines()[0].split("|"))
