from itertools import permutations

import ot
import pytest
import torch

from dansm.couplings import MinibatchOT
from dansm.couplings.minibatch_ot import sinkhorn_plan
from dansm.randomness import generator

SEED = 5


def samples(n, shape=(2, 3)):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(0))


def noise_of(x, k=0):
    return torch.randn(x.shape, generator=generator(SEED, "noise", k))


def squares(x, noise):
    return (x.double().flatten(1)[:, None] - noise.double().flatten(1)).square().sum(-1)


def log_sinkhorn(costs, weight, rounds=3000):
    n = len(costs)
    rows, columns = torch.zeros(n).double(), torch.zeros(n).double()
    mass = -torch.tensor(float(n)).log()
    for _ in range(rounds):
        columns = mass - torch.logsumexp(rows[:, None] - costs / weight, 0)
        rows = mass - torch.logsumexp(columns[None] - costs / weight, 1)
    return (rows[:, None] + columns[None] - costs / weight).exp()


@pytest.mark.parametrize("n", range(1, 8))
def test_exact_is_the_best_of_all_permutations(n):
    x, coupling = samples(n), MinibatchOT(0, SEED)
    for k in range(3):
        costs = squares(x, noise_of(x, k))
        best = min(permutations(range(n)), key=lambda p: sum(costs[i, p[i]] for i in range(n)))
        assert torch.equal(coupling.match(x), noise_of(x, k)[list(best)])


def test_exact_is_the_plan_of_the_linear_programme():
    x = samples(60)
    plan = torch.from_numpy(ot.emd([], [], squares(x, noise_of(x)).numpy()))
    assert torch.equal(MinibatchOT(0, SEED).match(x), noise_of(x)[plan.argmax(dim=1)])


@pytest.mark.parametrize("regularisation", [0.05, 0.1, 1.0])
def test_sinkhorn_plan_is_the_entropic_one(regularisation):
    costs = squares(samples(12), noise_of(samples(12)))
    plan = sinkhorn_plan(costs.float(), regularisation)
    expected = log_sinkhorn(costs, regularisation * costs.mean())
    assert torch.allclose(plan, expected, rtol=1e-3, atol=1e-5)
    assert torch.allclose(plan.sum(dim=1), torch.full((12,), 1 / 12).double())


def test_sinkhorn_draws_each_row_s_noise_as_often_as_its_plan_says():
    x, regularisation, draws = samples(4), 0.2, 600
    coupling = MinibatchOT(0, SEED, method="sinkhorn", regularisation=regularisation)
    seen, expected, variance = (torch.zeros(4, 4).double() for _ in range(3))
    for k in range(draws):
        noise, found = noise_of(x, k), coupling.match(x)
        seen += (found[:, None] == noise).flatten(2).all(-1)
        costs = squares(x, noise)
        plan = 4 * log_sinkhorn(costs, regularisation * costs.mean(), rounds=40)
        expected += plan
        variance += plan * (1 - plan)
    assert torch.equal(seen.sum(dim=1), torch.full((4,), draws).double())
    assert ((seen - expected).abs() < 4 * variance.sqrt()).all()


def test_little_regularisation_comes_near_the_exact_plan_and_much_near_independence():
    x = samples(64, (10,))
    pulls = [
        float((x * MinibatchOT(0, SEED, **options).match(x)).sum() / x.norm())
        for options in [
            {"method": "sinkhorn", "regularisation": 100.0},
            {"method": "sinkhorn", "regularisation": 0.05},
            {"method": "sinkhorn", "regularisation": 0.005},
        ]
    ]
    exact = float((x * MinibatchOT(0, SEED).match(x)).sum() / x.norm())
    assert abs(pulls[0]) < 4 and pulls[0] + 3 < pulls[1] < pulls[2]
    assert 0.9 * exact < pulls[2] < 1.1 * exact


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"match_size": 5}, "match_size 5: minibatch_ot takes 0"),
        ({"method": "emd"}, "method 'emd': minibatch_ot takes 'exact' or 'sinkhorn'"),
        ({"regularisation": 0.1}, "regularisation 0.1: only method sinkhorn"),
        ({"method": "sinkhorn", "regularisation": 0.0}, "regularisation 0.0: expected a finite"),
        ({"method": "sinkhorn", "regularisation": -1.0}, "regularisation -1.0: expected"),
        ({"method": "sinkhorn", "regularisation": float("nan")}, "regularisation nan: expected"),
        ({"method": "sinkhorn", "regularisation": float("inf")}, "regularisation inf: expected"),
    ],
)
def test_unsuitable_options_are_refused(options, found):
    with pytest.raises(ValueError, match=found):
        MinibatchOT(**options)


def test_the_regularisation_of_sinkhorn_has_a_default():
    assert MinibatchOT(method="sinkhorn").regularisation == 0.01
    assert MinibatchOT().regularisation is None


def test_sinkhorn_without_its_library_names_the_extra(monkeypatch):
    monkeypatch.setattr("dansm.couplings.minibatch_ot.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"sinkhorn.*pip install \"dansm\[ot\]\""):
        MinibatchOT(0, SEED, method="sinkhorn")
    with pytest.raises(ImportError, match=r"dansm\[ot\]"):
        sinkhorn_plan(torch.ones(2, 2), 0.1)
    assert MinibatchOT(0, SEED).match(samples(3)).shape == (3, 2, 3)
