"""Searched time grids: the cheapest path, straight fields, and evolution."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import torch

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes.diffusion import Diffusion
from dansm.processes.grids import evaluations, uniform
from dansm.processes.rectified_flow import TIME_SCALE, RectifiedFlow
from dansm.processes.samplers import Sampler
from dansm.processes.searching import cheapest_path, cheapest_times, evolved_times, jump_costs

Z = torch.randn(16, 1, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
S = 0.5


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def gaussian(points, condition):
    """Return the exact velocity for data N(0, S²)."""
    t = condition.reshape(-1, 1, 1, 1).double() / TIME_SCALE
    return (t * S**2 - (1 - t)) * points / (t**2 * S**2 + (1 - t) ** 2)


def total(costs, path):
    jumps = itertools.pairwise(path)
    return sum(1.15**k * costs[i, j] for k, (i, j) in enumerate(jumps))


@pytest.mark.parametrize("jumps", range(1, 7))
def test_cheapest_path_is_that_of_brute_force(jumps):
    costs = np.random.default_rng(jumps).random((7, 7))
    costs[np.tril_indices(7)] = np.inf
    every = [(0, *inner, 6) for inner in itertools.combinations(range(1, 6), jumps - 1)]
    best = min(every, key=lambda path: total(costs, path))
    assert cheapest_path(costs, jumps) == list(best)


def test_all_knots_are_taken_where_so_many_steps_are_asked_for():
    knots = uniform(8, None)
    assert cheapest_times(RectifiedFlow(), gaussian, Z, knots, 8) == knots


def test_jumps_cost_nothing_on_straight_paths_and_something_on_others():
    def straight(points, condition):
        return torch.ones_like(points)

    after = np.triu_indices(6, 1)
    knots = uniform(5, None)
    assert jump_costs(RectifiedFlow(), straight, Z, knots)[after].max() < 1e-12
    assert jump_costs(RectifiedFlow(), gaussian, Z, knots)[after].min() > 1e-6


def test_a_jump_costs_its_distance_to_the_solution():
    """From z at ε, one jump ends at z + (1 − ε) v(z, ε); the solution at z √V(1) = S z."""
    process = RectifiedFlow()
    found = jump_costs(process, gaussian, Z, uniform(200, None))[0, -1]
    t = process.epsilon
    slope = (t * S**2 - (1 - t)) / (t**2 * S**2 + (1 - t) ** 2)
    start = (t**2 * S**2 + (1 - t) ** 2) ** 0.5
    missed = abs(1 + (1 - t) * slope - S / start) * Z.flatten(1).norm(dim=1).mean()
    assert found == pytest.approx(float(missed), rel=1e-3)


def test_chosen_times_leave_a_smaller_error_than_equal_ones():
    def error(sampler, steps):
        return float((sampler.sample(gaussian, Z, steps).samples - S * Z).norm())

    times = cheapest_times(RectifiedFlow(), gaussian, Z, uniform(60, None), 4)
    euler = Pick("euler", {"times": tuple(map(float, times))})
    assert error(Sampler(Pick("rectified_flow"), euler), None) < 0.9 * error(
        Sampler(Pick("rectified_flow"), Pick("euler")), 4
    )


@pytest.mark.parametrize("steps", [0, 9])
def test_number_of_steps_is_checked(steps):
    with pytest.raises(InputError, match="expected 1 to 8"):
        cheapest_path(np.ones((9, 9)), steps)
    with pytest.raises(InputError, match="expected 1 to 8"):
        evolved_times(lambda _: 0, uniform(8, None), steps, stream(), **SMALL)


SMALL = {"population": 10, "parents": 4, "rounds": 12}


def test_evolution_finds_the_best_times_and_never_loses_them():
    target = [Fraction(0), Fraction(1, 10), Fraction(1, 5), Fraction(1)]

    def score(times):
        assert times == sorted(set(times)) and (times[0], times[-1]) == (0, 1)
        return float(sum(abs(a - b) for a, b in zip(times, target, strict=True)))

    times, scores = evolved_times(score, uniform(10, None), 3, stream(), **SMALL)
    assert times == target and scores[-1] == 0
    assert scores == sorted(scores, reverse=True) and scores[0] > 0


def test_evolution_begins_with_equal_steps_and_scores_none_twice():
    seen = []

    def score(times):
        seen.append(tuple(times))
        return float(len(seen))

    evolved_times(score, uniform(4, None), 2, stream(), **SMALL)
    assert seen[0] == (0, Fraction(1, 2), 1)
    assert len(seen) == len(set(seen)) == 3


def test_searched_times_are_sampled_and_must_be_given():
    solver = Pick("euler", {"grid": "gits"})
    times = {2: [0.0, 0.25, 1.0]}
    found = Sampler(Pick("rectified_flow"), solver, times).sample(gaussian, Z, 2)
    given = Pick("euler", {"times": (0.0, 0.25, 1.0)})
    expected = Sampler(Pick("rectified_flow"), given).sample(gaussian, Z)
    assert torch.equal(found.samples, expected.samples)
    assert found.nfe == evaluations(Pick("rectified_flow"), solver, 2) == 2
    with pytest.raises(InputError, match=r"expected searched times of 3 steps, found .*\[2\]"):
        Sampler(Pick("rectified_flow"), solver, times).sample(gaussian, Z, 3)
    with pytest.raises(InputError, match="searched, found none"):
        Sampler(Pick("rectified_flow"), solver).sample(gaussian, Z, 2)


def test_discrete_times_are_not_searched():
    with pytest.raises(InputError, match="expected a grid of diffusion"):
        Sampler(Diffusion(), Pick("euler", {"grid": "gits"}))
