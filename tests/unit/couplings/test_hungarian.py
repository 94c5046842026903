import io
from itertools import permutations

import pytest
import torch

from dansm.couplings import Batch, Greedy, Hungarian
from dansm.randomness import generator, stream_seed

SEED = 5


def samples(n, shape=(2, 3), seed=0, dtype=torch.float32):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


def noises_of(match_size, k, shape, seed=SEED):
    """The noises of set k (from 0) as the coupling draws them."""
    return torch.randn(match_size, *shape, generator=generator(seed, "set", k))


def brute_force(x, match_size, seed=SEED):
    """Try all permutations set by set, in float64."""
    matched = []
    for k, part in enumerate(x.split(match_size)):
        noises = noises_of(match_size, k, x.shape[1:], seed)[: len(part)]
        flat = noises.double().flatten(1)
        distances = (part.double().flatten(1)[:, None] - flat).square().sum(-1)
        rows = range(len(part))
        best = min(permutations(rows), key=lambda p: sum(distances[i, p[i]] for i in rows))
        matched.append(noises[list(best)])
    return torch.cat(matched).to(x.dtype)


def batches_of(x, *sizes):
    assert sum(sizes) == len(x)
    extras = torch.arange(len(x)).split(sizes)
    return [
        Batch(part, {"index": index, "label": index % 10})
        for part, index in zip(x.split(sizes), extras, strict=True)
    ]


def noise_of(pairs):
    return torch.cat([p.noise for p in pairs])


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("match_size", [2, 3, 5, 7])
@pytest.mark.parametrize("n", [7, 12, 15], ids="n{}".format)
def test_each_set_has_the_best_of_all_permutations(match_size, n):
    x = samples(n)
    found = noise_of(Hungarian(match_size, SEED).pairs(batches_of(x, 4, n - 4)))
    assert torch.equal(found, brute_force(x, match_size))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_dtype_are_kept(shape, dtype):
    x = samples(11, shape, dtype=dtype)
    pairs = list(Hungarian(4, SEED).pairs(batches_of(x, 5, 6)))
    assert [p.noise.shape for p in pairs] == [p.samples.shape for p in pairs]
    assert noise_of(pairs).dtype == dtype and torch.equal(noise_of(pairs), brute_force(x, 4))


@pytest.mark.parametrize(
    "sizes", [(60,), (1,) * 60, (7, 50, 3), (20, 20, 20), (59, 1), (25, 25, 10)]
)
def test_batches_keep_sizes_order_and_extras_and_do_not_matter(sizes):
    x = samples(60)
    expected = noise_of(Hungarian(20, SEED).pairs(batches_of(x, 60)))
    pairs = list(Hungarian(20, SEED).pairs(batches_of(x, *sizes)))
    assert tuple(len(p.samples) for p in pairs) == sizes
    assert torch.equal(torch.cat([p.samples for p in pairs]), x)
    assert torch.equal(noise_of(pairs), expected)
    index = torch.cat([p.extras["index"] for p in pairs])
    label = torch.cat([p.extras["label"] for p in pairs])
    assert torch.equal(index, torch.arange(60)) and torch.equal(label, index % 10)


def test_each_noise_of_a_set_is_used_once_and_the_last_short_set_takes_the_first_ones():
    found = noise_of(Hungarian(20, SEED).pairs(batches_of(samples(50), 15, 15, 20))).flatten(1)
    for k, used in enumerate(found.split(20)):
        drawn = noises_of(20, k, (2, 3)).flatten(1)
        rows = (used[:, None] == drawn).all(-1).nonzero()[:, 1]
        assert sorted(rows.tolist()) == list(range(len(used)))


def test_batches_are_taken_only_as_the_matching_needs_them():
    taken = []

    def batches():
        for k in range(6):
            taken.append(k)
            yield Batch(samples(4, seed=k))

    pairs = Hungarian(10, SEED).pairs(batches())
    assert taken == []
    for expected in ([0, 1, 2], [0, 1, 2], [0, 1, 2, 3, 4]):  # 10 samples, 12 taken; 20, 20
        next(pairs)
        assert taken == expected


@pytest.mark.parametrize("sizes", [(4,) * 15, (7,) * 8 + (4,), (25, 25, 10), (1,) * 60])
@pytest.mark.parametrize("handed_out", [0, 1, 2])
def test_a_loaded_state_goes_on_with_the_batches_that_follow(sizes, handed_out):
    batches = batches_of(samples(60), *sizes)
    expected = list(Hungarian(10, SEED).pairs(batches))
    source, original, copy = iter(batches), Hungarian(10, SEED), Hungarian(10, SEED)
    stream = original.pairs(source)
    first = [next(stream) for _ in range(handed_out)]
    state = saved_and_loaded(original.state_dict())
    followers = list(source)
    copy.load_state_dict(state)
    found = first + list(copy.pairs(followers))
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.samples, other.samples) and torch.equal(one.noise, other.noise)
        assert torch.equal(one.extras["index"], other.extras["index"])
    copy.load_state_dict(state)  # matching has not changed it
    assert torch.equal(noise_of(first + list(copy.pairs(followers))), noise_of(expected))


def test_a_state_holds_no_more_than_the_samples_held():
    coupling, file = Hungarian(10, SEED), io.BytesIO()
    next(coupling.pairs(batches_of(samples(1000, (500,)), *(7,) * 142, 6)))
    state = coupling.state_dict()
    assert [len(entry["samples"]) for entry in state["progress"]["held"]] == [7]
    assert state["progress"]["held"][0]["origin"][:, 0].tolist() == [0, 0, 0, -1, -1, -1, -1]
    torch.save(state, file)
    assert file.tell() < 2 * 7 * 500 * 4


def test_a_new_stream_continues_the_held_set():
    x = samples(20)
    coupling = Hungarian(10, SEED)
    first = next(coupling.pairs(batches_of(x[:12], 6, 6)))
    rest = list(coupling.pairs(batches_of(x[12:], 8)))
    assert [len(p.samples) for p in rest] == [6, 8]
    expected = noise_of(Hungarian(10, SEED).pairs(batches_of(x, 20)))
    assert torch.equal(noise_of([first, *rest]), expected)


def test_the_end_of_a_stream_closes_its_set():
    coupling, x = Hungarian(10, SEED), samples(4)
    one, two = (list(coupling.pairs([Batch(x)])) for _ in range(2))
    assert not torch.equal(noise_of(one), noise_of(two))
    assert list(coupling.pairs([])) == []


def test_optimal_pairs_are_shorter_than_greedy_ones():
    x = samples(200, (30,))
    greedy = (x - Greedy(200, SEED).match(x)).square().sum()
    assert (x - noise_of(Hungarian(200, SEED).pairs([Batch(x)]))).square().sum() < greedy


@pytest.mark.parametrize("match_size", [-1, 0, 1, 2.5])
def test_a_match_size_below_two_is_refused(match_size):
    with pytest.raises(ValueError, match=f"match_size {match_size}: hungarian takes a whole"):
        Hungarian(match_size)


@pytest.mark.parametrize("sizes", [(40,), (1,) * 40, (7, 30, 3), (20, 20)])
def test_with_labels_each_class_has_sets_of_its_own(sizes):
    x, batches = samples(40), batches_of(samples(40), *sizes)
    classes = torch.tensor([0, 0, 7, 0, 3]).repeat(8)
    batches = [Batch(b.samples, {**b.extras, "label": classes[b.extras["index"]]}) for b in batches]
    pairs = list(Hungarian(5, SEED, labels="label").pairs(batches))
    assert torch.equal(torch.cat([p.samples for p in pairs]), x)
    assert torch.equal(torch.cat([p.extras["index"] for p in pairs]), torch.arange(40))
    assert tuple(len(p.samples) for p in pairs) == sizes
    for label in (0, 3, 7):
        expected = brute_force(x[classes == label], 5, stream_seed(SEED, "class", label))
        assert torch.equal(noise_of(pairs)[classes == label], expected)


def test_with_labels_a_batch_waits_for_the_slowest_of_its_classes():
    taken = []

    def batches():
        for k, labels in enumerate(([0, 0, 1], [0, 0, 0], [0, 0, 0], [1, 1, 0])):
            taken.append(k)
            yield Batch(samples(3, seed=k), {"label": torch.tensor(labels)})

    coupling = Hungarian(3, SEED, labels="label")
    stream = coupling.pairs(batches())
    next(stream)
    assert taken == [0, 1, 2, 3]
    held = coupling.state_dict()["progress"]["held"]
    assert [entry["origin"][:, 0].tolist() for entry in held] == [[0, 1, 1], [1, 2, 2], [0, 0, 2]]


@pytest.mark.parametrize("handed_out", [0, 1, 3])
def test_with_labels_a_loaded_state_goes_on_in_the_middle_of_several_sets(handed_out):
    x, classes = samples(60), torch.tensor([0, 0, 7, 0, 3]).repeat(12)
    parts = zip(x.split(6), classes.split(6), strict=True)
    batches = [Batch(part, {"label": of}) for part, of in parts]
    expected = list(Hungarian(4, SEED, labels="label").pairs(batches))
    source, original, copy = iter(batches), *(Hungarian(4, SEED, labels="label") for _ in "ab")
    stream = original.pairs(source)
    first = [next(stream) for _ in range(handed_out)]
    copy.load_state_dict(saved_and_loaded(original.state_dict()))
    found = first + list(copy.pairs(source))
    assert torch.equal(noise_of(found), noise_of(expected))
    assert torch.equal(torch.cat([p.samples for p in found]), x)


def test_samples_whose_distances_overflow_are_refused():
    with pytest.raises(ValueError, match=r"distances to noise are finite in torch\.float32"):
        list(Hungarian(2, SEED).pairs([Batch(torch.full((2, 2), 3e38))]))
