import pytest
import torch
from scipy.stats import kstest

from dansm.couplings.registry import Pick
from dansm.processes.objective import make_objective
from dansm.processes.rectified_flow import RectifiedFlow

EPSILON = 1e-3
OBJECTIVE = make_objective(Pick("rectified_flow"), Pick("uniform"), Pick("squared_error"))


@pytest.mark.parametrize("shape", [(8, 3), (8, 2, 4, 4)])
def test_loss_is_the_mean_squared_error_of_the_velocity(shape):
    x, z = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    seen = {}

    def network(points, times):
        seen["points"], seen["times"] = points, times
        return points * 0.5 + times.reshape(-1, *[1] * (len(shape) - 1)) / 999

    loss = OBJECTIVE.loss(network, x, z, torch.Generator().manual_seed(4))
    u = torch.rand(shape[0], generator=torch.Generator().manual_seed(4))
    total = 0.0
    for i in range(shape[0]):
        t = EPSILON + (1 - EPSILON) * float(u[i])
        assert float(seen["times"][i]) == pytest.approx(999 * t, rel=1e-6)
        point = t * x[i].double() + (1 - t) * z[i].double()
        torch.testing.assert_close(seen["points"][i].double(), point, rtol=0, atol=1e-6)
        total += float(((point * 0.5 + t) - (x[i] - z[i]).double()).square().sum())
    assert float(loss) == pytest.approx(total / x.numel(), rel=1e-5)


def test_a_point_lies_on_the_line_of_its_pair_at_its_own_time():
    x, z = torch.randn(2, 3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([0.001, 0.25, 1.0])
    point = RectifiedFlow().point(x, z, times)
    for i, t in enumerate(times.tolist()):
        torch.testing.assert_close(point.input[i], t * x[i] + (1 - t) * z[i])
        assert float(point.condition[i]) == pytest.approx(999 * t)
    assert torch.equal(point.target, x - z) and point.weight is None


def test_loss_of_the_true_velocity_is_zero_and_has_a_gradient_otherwise():
    x, z = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    weight = torch.tensor(1.0, requires_grad=True)
    stream = torch.Generator().manual_seed(0)
    assert OBJECTIVE.loss(lambda points, times: weight * (x - z), x, z, stream) == 0
    loss = OBJECTIVE.loss(lambda points, times: 2 * weight * (x - z), x, z, stream)
    loss.backward()
    # d/dw mean (2w − 1)² d² = 4 mean d²
    assert float(weight.grad) == pytest.approx(4 * float((x - z).square().mean()), rel=1e-5)


def test_times_are_uniform_above_epsilon():
    times = []
    x = torch.zeros(4000, 1)
    OBJECTIVE.loss(lambda p, t: times.append(t) or p, x, x, torch.Generator().manual_seed(1))
    t = times[0].double() / 999
    assert t.min() >= EPSILON - 1e-9 and t.max() <= 1
    assert kstest(t.numpy(), "uniform", (EPSILON, 1 - EPSILON)).pvalue > 0.01
