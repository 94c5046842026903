"""Matching on a device: the pairs of the CPU. Needs nothing but what couplings need."""

import pytest
import torch

from dansm.couplings import Batch, fit_potentials, make_coupling
from dansm.training.prefetching import Prefetcher

COUNT, SHAPE = 60, (3, 4)
KINDS = {
    "independent": ("independent", {}),
    "greedy": ("greedy", {"match_size": 100}),
    "greedy, pools smaller than batches": ("greedy", {"match_size": 7}),
    "greedy, costs in blocks": ("greedy", {"match_size": 100, "block_elements": 500}),
    "greedy, pools drawn again": ("greedy", {"match_size": 100, "pool_bytes": 0}),
    "hungarian": ("hungarian", {"match_size": 12}),
    "immiscible": ("immiscible", {}),
    "minibatch_ot": ("minibatch_ot", {}),
    "knn": ("knn", {"match_size": 5}),
    "loom": ("loom", {"count": COUNT, "shape": SHAPE}),
}
EACH = [*KINDS, *(f"{kind} per class" for kind in KINDS)]


def samples():
    return torch.randn(COUNT, *SHAPE, generator=torch.Generator().manual_seed(0))


def batches(device):
    x, rows = samples().to(device), torch.arange(COUNT)
    labels = torch.randint(3, (COUNT,), generator=torch.Generator().manual_seed(1))
    return [
        Batch(x[part.to(device)], {"row": part, "label": labels[part]})
        for part in rows.split([20, 9, 31])
    ]


def made(kind):
    name, options = KINDS[kind.removesuffix(" per class")]
    labels = "label" if kind.endswith(" per class") else None
    return make_coupling(name, seed=5, labels=labels, **options)


def assert_same(found, expected, device):
    assert len(found) == len(expected)
    for here, there in zip(found, expected, strict=True):
        assert here.noise.device.type == here.samples.device.type == device.type
        assert torch.equal(here.samples.cpu(), there.samples)
        assert torch.equal(here.noise.cpu(), there.noise)


@pytest.mark.parametrize("kind", EACH)
def test_pairs_are_those_of_the_cpu(kind, device):
    expected = list(made(kind).pairs(batches("cpu")))
    assert_same(list(made(kind).pairs(batches(device))), expected, device)


@pytest.mark.parametrize("kind", [kind for kind in EACH if "hungarian" not in kind])
def test_a_state_saved_on_a_device_continues_there_and_on_the_cpu(kind, device):
    expected = list(made(kind).pairs(batches("cpu")))
    for then in (device, torch.device("cpu")):
        coupling, copy = made(kind), made(kind)
        assert_same(list(coupling.pairs(batches(device)[:1])), expected[:1], device)
        copy.load_state_dict(coupling.state_dict())
        assert_same(list(copy.pairs(batches(then)[1:])), expected[1:], then)


def test_samples_held_back_by_a_state_come_from_the_cpu(device):
    source, coupling, copy = iter(batches(device)), made("hungarian"), made("hungarian")
    first = next(coupling.pairs(source))
    copy.load_state_dict(coupling.state_dict())
    found = [first, *copy.pairs(source)]
    expected = list(made("hungarian").pairs(batches("cpu")))
    for part in ("samples", "noise"):
        both = (torch.cat([getattr(p, part).cpu() for p in all_]) for all_ in (found, expected))
        assert torch.equal(*both)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("immiscible", {"quantized": True}),
        ("minibatch_ot", {"method": "sinkhorn", "regularisation": 0.05}),
    ],
)
def test_what_rounds_its_costs_matches_nearly_alike(name, options, device):
    if "method" in options:
        pytest.importorskip("ot")
    here, there = (make_coupling(name, seed=5, **options) for _ in range(2))
    found, expected = here.match(samples().to(device)), there.match(samples())
    assert found.device.type == device.type
    same = (found.cpu() == expected).flatten(1).all(dim=1)
    assert same.float().mean() > 0.8


def test_potentials_and_their_pairs_are_those_of_the_cpu(device):
    options = {"seed": 1, "steps": 300, "batch_size": 64, "progress": False}
    there = fit_potentials(samples(), **options)
    here = fit_potentials(samples().to(device), **options)
    assert torch.allclose(here.values, there.values, atol=0.05)
    pairs = []
    for place in (device, "cpu"):
        given = {"samples": samples().to(place), "potentials": there}
        coupling = make_coupling("semidiscrete", seed=5, **given)
        pairs.append(list(coupling.pairs(batches(place))))
    assert_same(*pairs, device)


def test_prefetched_pairs_are_the_couplings_while_the_device_works(device):
    x = torch.randn(16, 64, 48, generator=torch.Generator().manual_seed(2))
    expected = list(make_coupling("greedy", match_size=500, seed=1).pairs(map(Batch, x)))
    source = make_coupling("greedy", match_size=500, seed=1).pairs(map(Batch, x.to(device)))
    work = torch.randn(512, 512, device=device)
    found = []
    with Prefetcher(source, device) as prefetcher:
        for made_ahead in prefetcher:
            pairs = made_ahead.pairs
            for _ in range(20):
                work = torch.tanh(work @ work)
            # Read after the work, and released at once: the memory is another batch's then.
            found.append((pairs.samples + 0 * work.sum(), pairs.noise + 0 * work.sum()))
            del pairs, made_ahead
    assert len(found) == len(expected)
    for (here, noise), there in zip(found, expected, strict=True):
        assert torch.equal(here.cpu(), there.samples) and torch.equal(noise.cpu(), there.noise)
