"""Objectives: time distributions and losses are one function and one entry each."""

import math
import subprocess
import sys

import pytest
import torch
from scipy.stats import kstest
from torch import nn

from dansm.couplings.registry import Pick
from dansm.errors import InputError
from dansm.processes import times as distributions
from dansm.processes.base import Point
from dansm.processes.objective import Objective, make_objective
from dansm.processes.rectified_flow import RectifiedFlow
from dansm.processes.times import make_times

X, Z = torch.randn(2, 6, 1, 2, 2, generator=torch.Generator().manual_seed(0))
FLOW, DIFFUSION = Pick("rectified_flow"), Pick("diffusion")
UNIFORM, SQUARED = Pick("uniform"), Pick("squared_error")


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_a_time_distribution_is_a_function_for_both_kinds_of_process():
    def cdf(t):
        return 0.5 + (torch.as_tensor(t) * 4 - 2).sinh() / (2 * math.sinh(2))

    times = make_times(Pick("u_shaped"))
    assert kstest(times.draw(4000, stream()).numpy(), lambda t: cdf(t).numpy()).pvalue > 0.01
    index = times.draw_index(40000, 10, stream())
    assert index.dtype == torch.int64
    shares = cdf(torch.arange(11) / 10).diff().flip(0)  # discrete time 0 lies next to the data
    torch.testing.assert_close(torch.bincount(index) / 40000, shares, atol=0.01, rtol=0)
    flat = make_times(Pick("u_shaped", {"a": 1e-3})).draw(4000, stream())
    assert kstest(flat.double().numpy(), "uniform").pvalue > 0.01


def test_discrete_times_have_the_direction_of_continuous_ones():
    late = distributions.TimeDistribution(lambda count, stream: torch.full((count,), 0.95))
    assert late.draw_index(3, 1000, stream()).tolist() == [49, 49, 49]
    brim = distributions.TimeDistribution(lambda count, stream: torch.full((count,), 1.0))
    assert brim.draw_index(2, 1000, stream()).tolist() == [0, 0]


def test_a_loss_is_a_function_of_prediction_and_target():
    for process in (FLOW, DIFFUSION):
        times = Pick("u_shaped", {"a": 2.0})
        objective = make_objective(process, times, Pick("pseudo_huber", {"c": 0.5}))
        loss = objective.loss(lambda points, t: points * 0.1, X, Z, stream(3))
        drawn = objective.process.draw_times(make_times(times), X, stream(3))
        point = objective.process.point(X, Z, drawn)
        norms = (point.input * 0.1 - point.target).flatten(1).norm(dim=1)
        expected = ((norms**2 + 0.25) ** 0.5 - 0.5).mean() / 4
        torch.testing.assert_close(loss, expected)


def test_weights_of_a_process_multiply_each_pairs_error():
    class Weighted(RectifiedFlow):
        def point(self, samples, noise, times):
            return Point(*super().point(samples, noise, times)[:3], times**2)

    for error in (lambda p, t: (p - t).square(), lambda p, t: (p - t).square().flatten(1).mean(1)):
        loss = Objective(Weighted(), make_times(UNIFORM), error).loss(
            lambda points, t: points, X, Z, stream()
        )
        times = 1e-3 + 0.999 * torch.rand(6, generator=stream())
        point = RectifiedFlow().point(X, Z, times)
        each = (point.input - point.target).square().flatten(1).mean(1)
        torch.testing.assert_close(loss, (times**2 * each).mean())


def test_regression_has_no_networks_and_no_state_of_its_own():
    objective = make_objective(FLOW, UNIFORM, SQUARED)
    assert objective.modules == objective.optimizers == {}
    assert objective.state_dict() == {"modules": {}, "optimizers": {}}
    objective.step(lambda loss: pytest.fail("nothing to train"))


def test_state_holds_the_objectives_networks_and_their_optimisers():
    def learning():
        objective = make_objective(FLOW, UNIFORM, SQUARED)
        objective.modules["critic"] = nn.Linear(2, 1)
        parameters = objective.modules["critic"].parameters()
        objective.optimizers["critic"] = torch.optim.Adam(parameters)
        return objective

    first, second = learning(), learning()
    first.modules["critic"](torch.ones(1, 2)).sum().backward()
    first.optimizers["critic"].step()
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.modules["critic"].weight, second.modules["critic"].weight)
    steps = [o.optimizers["critic"].state_dict()["state"][0]["step"] for o in (first, second)]
    assert steps == [1, 1]


@pytest.mark.parametrize(
    ("process", "times", "loss", "message"),
    [
        (Pick("flow"), UNIFORM, SQUARED, r"unknown process 'flow'; expected one of \['diffusion'"),
        (FLOW, Pick("often"), SQUARED, "unknown times 'often'; expected one of"),
        (FLOW, UNIFORM, Pick("cubed"), "unknown loss 'cubed'; expected one of"),
        (FLOW, Pick("u_shaped", {"b": 1}), SQUARED, r"u_shaped\(b=1\): .* argument 'b'"),
    ],
)
def test_unknown_names_and_options_are_refused(process, times, loss, message):
    with pytest.raises(InputError, match=message):
        make_objective(process, times, loss)


def test_names_and_costs_are_known_without_torch():
    code = "import sys, dansm.processes.grids; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
