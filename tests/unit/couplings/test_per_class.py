from functools import partial

import pytest
import torch

from dansm.couplings import (
    Batch,
    Greedy,
    Immiscible,
    Independent,
    Knn,
    MinibatchOT,
    PerClass,
    make_coupling,
)
from dansm.randomness import stream_seed

SEED = 5
KINDS = {
    "independent": partial(Independent, 0),
    "greedy": partial(Greedy, 7),
    "immiscible": partial(Immiscible, 0),
    "knn": partial(Knn, 4),
    "minibatch_ot": partial(MinibatchOT, 0),
}


def samples(n, shape=(2, 3)):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(0))


def classes(n):
    return torch.randint(-1, 3, (n,), generator=torch.Generator().manual_seed(1))


def within(kind, labels="label"):
    return PerClass(KINDS[kind], SEED, labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int8])
def test_each_class_is_matched_alone_from_its_own_streams(kind, dtype):
    x, labels = samples(60), classes(60)
    labels[:20] = labels[:20].clamp_min(1)  # some classes come later
    given = labels.to(dtype).split([20, 30, 10])
    coupling = within(kind)
    parts = zip(x.split([20, 30, 10]), given, strict=True)
    found = torch.cat([coupling.match(*part) for part in parts])
    for label in labels.unique().tolist():
        alone = KINDS[kind](stream_seed(SEED, "class", label))
        own = [part[of == label] for part, of in zip(x.split([20, 30, 10]), given, strict=True)]
        expected = torch.cat([alone.match(part) for part in own if len(part)])
        assert torch.equal(found[labels == label], expected)


def test_greedy_uses_each_noise_of_a_class_s_pool_once_whatever_the_batches():
    x, labels, size = samples(140), torch.arange(140) % 2, 7
    whole = within("greedy").match(x, labels)
    coupling = within("greedy")
    parts = zip(x.split(9), labels.split(9), strict=True)
    assert torch.equal(torch.cat([coupling.match(*part) for part in parts]), whole)
    for label in (0, 1):
        pools = Greedy(size, stream_seed(SEED, "class", label)).match(torch.zeros(70, 2, 3))
        for pool, used in zip(pools.split(size), whole[labels == label].split(size), strict=True):
            same = (used[:, None] == pool).flatten(2).all(-1)
            assert sorted(same.nonzero()[:, 1].tolist()) == list(range(size))


def test_noise_does_not_tell_the_class():
    # Two far classes: matched together, each gets the noises of its side.
    labels = torch.arange(400) % 2
    x = samples(400, (4,)) + (6 * labels - 3)[:, None]
    together = make_coupling("greedy", match_size=400, seed=SEED).match(x)
    alone = make_coupling("greedy", match_size=200, seed=SEED, labels="label").match(x, labels)
    pulled, free = (noise[labels == 1].mean() for noise in (together, alone))
    assert pulled > 0.3 and abs(free) < 4 / 800**0.5


def test_pairs_read_the_extra_by_its_name():
    x, labels = samples(20), classes(20)
    batch = Batch(x, {"label": torch.zeros(20), "digit": labels})
    (pairs,) = within("greedy", "digit").pairs([batch])
    assert torch.equal(pairs.noise, within("greedy").match(x, labels))
    assert pairs.samples is x and pairs.extras is batch.extras


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (torch.zeros(5, dtype=torch.int64), r"labels: expected shape \(4,\) .*found \(5,\)"),
        (torch.zeros(4), "labels: .*of integers, found .*torch.float32"),
    ],
)
def test_unsuitable_labels_are_refused_and_change_nothing(labels, found):
    x, coupling = samples(4), within("greedy")
    with pytest.raises(ValueError, match=found):
        coupling.match(x, labels)
    with pytest.raises(ValueError, match="NaN"):
        coupling.match(x * torch.nan, classes(4))
    assert torch.equal(coupling.match(x, classes(4)), within("greedy").match(x, classes(4)))


def test_the_shape_is_that_of_all_classes():
    coupling = within("independent")
    coupling.match(samples(2), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"expected shape \(n, 2, 3\) as before, found \(2, 6\)"):
        coupling.match(samples(2, (6,)), torch.ones(2, dtype=torch.int64))
