import io
from itertools import pairwise, permutations

import pytest
import torch

from dansm.couplings.base import Batch
from dansm.couplings.independent import Independent
from dansm.couplings.loom import Loom
from dansm.randomness import generator

SEED = 5


def samples(n, shape=(2, 3), seed=0, dtype=torch.float32):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


def loom(n, shape=(2, 3), stored=1, seed=SEED):
    return Loom(0, seed, count=n, shape=shape, stored=stored)


def noise_of(i, shape=(2, 3)):
    return torch.randn(shape, generator=generator(SEED, "loom", i))


def epoch(x, size, order):
    """Batches of one pass over the dataset."""
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(order))
    return [Batch(x[part], {"row": part}) for part in rows.split(size)]


def run(coupling, batches):
    """Return samples' rows and ids of the noises given to them, identified by value."""
    noises = torch.stack([noise_of(i) for i in range(coupling.progress()["ids"].numel())])
    rows, ids = [], []
    for pairs in coupling.pairs(batches):
        equal = (pairs.noise[:, None] == noises).flatten(2).all(dim=2)
        assert bool((equal.sum(dim=1) == 1).all())
        rows += pairs.extras["row"].tolist()
        ids += equal.int().argmax(dim=1).tolist()
    return rows, ids


def test_noises_are_stored_and_each_is_used_exactly_once_an_epoch():
    x, coupling = samples(30), loom(30)
    for k in range(4):
        rows, ids = run(coupling, epoch(x, 8, k))
        assert sorted(ids) == list(range(30))
        assert coupling.progress()["ids"][rows, 0].tolist() == ids


@pytest.mark.parametrize("stored", [1, 3])
def test_the_total_cost_never_rises(stored):
    x, coupling = samples(40), loom(40, stored=stored)
    noises = torch.stack([noise_of(i) for i in range(40 * stored)]).double()
    costs = []
    for k in range(6):
        for batch in epoch(x, 7, k):
            next(coupling.pairs([batch]))
            ids = coupling.progress()["ids"]
            costs.append(float((x.double()[:, None] - noises[ids]).square().sum()))
            assert sorted(ids.flatten().tolist()) == list(range(40 * stored))
    assert all(after <= before + 1e-4 for before, after in pairwise(costs))
    assert costs[-1] < costs[0] - 20


@pytest.mark.parametrize("n", range(1, 8))
def test_one_batch_of_everything_is_the_global_optimum(n):
    x = samples(n)
    (pairs,) = loom(n).pairs(epoch(x, n, 0))
    noises = [noise_of(i).double() for i in range(n)]
    x = x.double()
    best = min(
        sum(float((a - noises[i]).square().sum()) for a, i in zip(x, p, strict=True))
        for p in permutations(range(n))
    )
    assert float((pairs.samples.double() - pairs.noise).square().sum()) == pytest.approx(best)


def test_every_one_of_a_samples_noises_is_used():
    x, coupling = samples(6), loom(6, stored=3)
    used = {i for k in range(40) for i in run(coupling, epoch(x, 6, k))[1]}
    assert used == set(range(18))


def test_a_batch_across_epochs_is_matched_in_parts_without_repetition():
    x = samples(10)
    rows = torch.tensor([0, 1, 2, 3, 1, 4, 5, 4])
    whole, parts = loom(10), loom(10)
    (found,) = whole.pairs([Batch(x[rows], {"row": rows})])
    expected = list(parts.pairs([Batch(x[r], {"row": r}) for r in rows.split([4, 3, 1])]))
    assert torch.equal(found.noise, torch.cat([pairs.noise for pairs in expected]))
    assert torch.equal(whole.progress()["ids"], parts.progress()["ids"])


@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_dtype_are_kept_and_extras_travel(shape, dtype):
    x = samples(9, shape, dtype=dtype)
    extras = {"row": torch.arange(9), "label": torch.arange(9) % 2}
    (pairs,) = loom(9, shape).pairs([Batch(x, extras)])
    assert (pairs.noise.shape, pairs.noise.dtype) == (x.shape, dtype)
    assert torch.equal(pairs.samples, x) and pairs.extras == extras
    stored = torch.stack([noise_of(i, shape) for i in range(9)]).to(dtype)
    assert sorted(map(str, pairs.noise.tolist())) == sorted(map(str, stored.tolist()))


def test_with_labels_noises_stay_within_their_class():
    x, labels = samples(30), torch.arange(30) % 3
    within = Loom(0, SEED, count=30, shape=(2, 3), labels="label")
    for k in range(3):
        batches = [
            Batch(b.samples, {**b.extras, "label": labels[b.extras["row"]]})
            for b in epoch(x, 12, k)
        ]
        rows, ids = run(within, batches)
        assert torch.equal(labels[torch.tensor(rows)], labels[torch.tensor(ids)])
    # Each class goes as it would alone.
    for label in range(3):
        alone = loom(30)
        for k in range(3):
            kept = [b.extras["row"][labels[b.extras["row"]] == label] for b in epoch(x, 12, k)]
            list(alone.pairs([Batch(x[rows], {"row": rows}) for rows in kept if len(rows)]))
        own = labels == label
        assert torch.equal(within.progress()["ids"][own], alone.progress()["ids"][own])


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_loaded_state_continues_identically_and_outlives_later_matching(done):
    x = samples(20)
    batches = epoch(x, 6, 0) + epoch(x, 6, 1)
    expected = [pairs.noise for pairs in loom(20, stored=2).pairs(batches)]
    original = loom(20, stored=2)
    list(original.pairs(batches[:done]))
    state = original.state_dict()
    rest = [pairs.noise for pairs in original.pairs(batches[done:])]
    assert all(map(torch.equal, rest, expected[done:]))
    copy = loom(20, stored=2)
    copy.load_state_dict(saved_and_loaded(state))
    rest = [pairs.noise for pairs in copy.pairs(batches[done:])]
    assert all(map(torch.equal, rest, expected[done:]))


@pytest.mark.parametrize(
    "other",
    [loom(21), loom(20, (6,)), loom(20, stored=2), loom(20, seed=1), Independent(0, SEED)],
    ids=["count", "shape", "stored", "seed", "name"],
)
def test_a_state_of_another_coupling_is_refused(other):
    with pytest.raises(ValueError, match="state of another coupling"):
        loom(20).load_state_dict(other.state_dict())


ROWS = torch.arange(3)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (Batch(samples(3)), r"expected extras\['row'\].*found extras \[\]"),
        (Batch(samples(3), {"row": torch.tensor([0, 1, 9])}), "rows from 0 to 8, found 0 to 9"),
        (Batch(torch.full((3, 2, 3), 3e38), {"row": ROWS}), "distances to noise are finite"),
    ],
)
def test_unsuitable_batches_are_refused_and_change_nothing(batch, found):
    coupling = loom(9)
    before = coupling.state_dict()
    with pytest.raises(ValueError, match=found):
        next(coupling.pairs([batch]))
    after = coupling.state_dict()
    assert torch.equal(before["progress"].pop("ids"), after["progress"].pop("ids"))
    assert before == after


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"match_size": 3}, "match_size 3: loom"),
        ({"count": 0}, "count 0: loom expects a whole number, at least 1"),
        ({"stored": 0}, "stored 0"),
    ],
)
def test_unsuitable_options_are_refused(options, found):
    with pytest.raises(ValueError, match=found):
        Loom(**{"count": 3, "shape": (2,), **options})
