import io
from itertools import islice, pairwise

import pytest
import torch

import dansm.couplings.greedy as greedy_module
from dansm.couplings import Batch, Greedy, Independent, make_coupling
from dansm.couplings.greedy import deferred_acceptance, match_in_turn, serial_choice
from dansm.randomness import generator

SEED = 5


def samples(n, shape=(2, 3), seed=0, dtype=torch.float32):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


def pool_of(match_size, k, shape=(2, 3)):
    """Pool k (from 1) as the coupling draws it: from one stream a block of noises."""
    dimensions = torch.Size(shape).numel()
    size = max(1, greedy_module._STREAM_VALUES // dimensions)
    blocks = [
        torch.randn(
            min(size, match_size - first),
            dimensions,
            generator=generator(SEED, "pool", k, first // size),
        )
        for first in range(0, match_size, size)
    ]
    return torch.cat(blocks)


def one_at_a_time(x, match_size):
    """The published method: a loop over samples, distances in float64."""
    flat, left, matched, pools = x.double().flatten(1), [], [], 0
    for sample in flat:
        if not left:
            pools += 1
            left = list(pool_of(match_size, pools, x.shape[1:]))
        distances = [float((sample - noise.double()).square().sum()) for noise in left]
        matched.append(left.pop(distances.index(min(distances))))
    return torch.stack(matched).reshape(x.shape).to(x.dtype)


def in_batches(coupling, x, *sizes):
    assert sum(sizes) == len(x)
    return torch.cat([coupling.match(part) for part in x.split(sizes)])


@pytest.mark.parametrize("match_size", [2, 7, 16, 40, 300], ids="ms{}".format)
def test_equals_the_loop_over_samples(match_size):
    x = samples(64)
    found = in_batches(Greedy(match_size, SEED), x, 16, 16, 16, 16)
    assert torch.equal(found, one_at_a_time(x, match_size))


@pytest.mark.parametrize("scale", [1e-3, 100.0])
def test_equals_the_loop_whatever_the_samples_scale(scale):
    x = samples(40) * scale
    assert torch.equal(Greedy(25, SEED).match(x), one_at_a_time(x, 25))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_shape_and_dtype_are_kept(shape, dtype):
    x = samples(20, shape, dtype=dtype)
    found = in_batches(Greedy(12, SEED), x, 9, 11)
    assert (found.shape, found.dtype) == (x.shape, dtype)
    assert torch.equal(found, one_at_a_time(x, 12))


@pytest.mark.parametrize("match_size", [4, 10, 25])
def test_each_noise_of_a_pool_is_used_exactly_once(match_size):
    x = samples(50)
    found = in_batches(Greedy(match_size, SEED), x, 8, 30, 12).flatten(1)
    for k in range(1, 50 // match_size + 1):
        used = found[(k - 1) * match_size : k * match_size]
        rows = (used[:, None] == pool_of(match_size, k)).all(-1).nonzero()[:, 1]
        assert sorted(rows.tolist()) == list(range(match_size))


@pytest.mark.parametrize("sizes", [(60,), (1,) * 60, (7, 50, 3), (20, 20, 20), (59, 1)])
def test_batches_do_not_matter(sizes):
    x = samples(60)
    assert torch.equal(in_batches(Greedy(20, SEED), x, *sizes), one_at_a_time(x, 20))


@pytest.fixture
def small_streams(monkeypatch):
    """Pools of 40 noises of six values come from six streams, of which two are drawn at a time."""
    monkeypatch.setattr(greedy_module, "_STREAM_VALUES", 48)
    monkeypatch.setattr(greedy_module, "_DRAWN_STREAMS", 2)


@pytest.mark.parametrize("block_elements", [1, 3, 8, 30, 100, 1000, 10**6])
@pytest.mark.parametrize("pool_bytes", [None, 0, 40 * 24 - 1, 40 * 24])
def test_blocks_and_pools_that_are_not_held_change_nothing(
    small_streams, monkeypatch, block_elements, pool_bytes
):
    held = []

    def choice(costs):
        held.append(costs.numel())
        return serial_choice(costs)

    monkeypatch.setattr(greedy_module, "serial_choice", choice)
    x = samples(150)
    coupling = Greedy(40, SEED, block_elements=block_elements, pool_bytes=pool_bytes)
    assert torch.equal(in_batches(coupling, x, 7, 60, 30, 53), one_at_a_time(x, 40))
    assert max(held) <= max(block_elements, 2)


@pytest.mark.parametrize("first", [1, 13, 33])
@pytest.mark.parametrize("sizes", [(None, 0), (0, None), (500, None), (None, 500)])
def test_a_state_continues_whether_the_pool_was_held_or_is(small_streams, first, sizes):
    x = samples(90)
    original, copy = (Greedy(40, SEED, pool_bytes=size) for size in sizes)
    original.match(x[:first])
    copy.load_state_dict(saved_and_loaded(original.state_dict()))
    assert torch.equal(in_batches(copy, x[first:], 10, 80 - first), one_at_a_time(x, 40)[first:])


@pytest.mark.parametrize("size", [1, 2, 5, 8, 12, 30])
def test_of_equally_near_noises_the_first_is_taken_whatever_the_blocks(size):
    stream = torch.Generator().manual_seed(0)
    for _ in range(20):
        flat = torch.randint(2, (8, 2), generator=stream).float()
        noise = torch.randint(-1, 2, (30, 2), generator=stream).float()
        norms = noise.square().sum(dim=1)
        expected = one_by_one((flat[:, None] - noise).square().sum(dim=2))
        blocks = zip(noise.split(size), norms.split(size), strict=True)
        places, taken = match_in_turn(flat, blocks)
        assert places.tolist() == expected and torch.equal(taken, noise[places])


def test_a_pool_that_is_not_held_is_drawn_a_few_streams_at_a_time():
    x, coupling = torch.zeros(1, 2**18), Greedy(2**20, SEED, pool_bytes=2**20)  # of 1 TiB
    coupling._prepare(x)
    assert [len(noise) for noise, _ in islice(coupling._blocks(x), 3)] == [64, 64, 64]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, r"a pool of 6 dimensions needs 22351\.7 GiB, found .* free .* option pool_bytes"),
        ({"pool_bytes": 10**9}, r"the list of noises left needs 7450\.6 GiB, found .* free"),
    ],
)
def test_what_is_larger_than_the_memory_is_refused_with_its_size(options, found):
    coupling = Greedy(10**12, SEED, **options)
    with pytest.raises(ValueError, match=f"match_size {10**12}: {found}"):
        coupling.match(samples(2))
    assert coupling.progress()["pools"] == 0


def test_costs_that_overflow_are_refused():
    with pytest.raises(
        ValueError, match=r"distances to noise are finite in torch\.float32, .*3e\+38"
    ):
        Greedy(8, SEED).match(torch.full((3, 6), 3e38))


def test_matching_pulls_noise_towards_samples_more_with_a_larger_pool():
    x = samples(500, (1, 4, 4))
    pulls = [
        float((x * make_coupling(name, match_size=ms, seed=SEED).match(x)).sum() / x.norm())
        for name, ms in [("independent", 0), ("greedy", 10), ("greedy", 100), ("greedy", 1000)]
    ]
    assert all(b > a + 1 for a, b in pairwise(pulls))


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("first", [0, 1, 13, 20, 33], ids="after {}".format)
def test_a_loaded_state_continues_identically(first):
    x = samples(60)
    original = Greedy(20, SEED)
    if first:
        original.match(x[:first])
    copy = Greedy(20, SEED)
    copy.load_state_dict(saved_and_loaded(original.state_dict()))
    rest = in_batches(copy, x[first:], 10, 50 - first)
    assert torch.equal(rest, one_at_a_time(x, 20)[first:])
    # The state was a copy: the original goes on undisturbed, and a state outlives later matching.
    assert torch.equal(original.match(x[first:]), rest)


def test_a_state_outlives_later_matching_and_can_be_loaded_twice():
    x, coupling = samples(30), Greedy(20, SEED)
    coupling.match(x[:7])
    state = coupling.state_dict()
    expected = in_batches(coupling, x[7:], 5, 18)  # the first takes from the middle of the pool
    for _ in range(2):
        coupling.load_state_dict(state)
        assert torch.equal(in_batches(coupling, x[7:], 5, 18), expected)


@pytest.mark.parametrize(
    ("other", "found"),
    [
        (Greedy(21, SEED), "'match_size': 21"),
        (Greedy(20, SEED + 1), f"'seed': {SEED + 1}"),
        (Independent(0, SEED), "'name': 'independent'"),
    ],
)
def test_a_state_of_another_coupling_is_refused(other, found):
    coupling, x = Greedy(20, SEED), samples(30)
    coupling.match(x[:5])
    with pytest.raises(ValueError, match="state of another coupling") as caught:
        coupling.load_state_dict(other.state_dict())
    assert found in str(caught.value) and "'match_size': 20" in str(caught.value)
    assert torch.equal(coupling.match(x[5:]), one_at_a_time(x, 20)[5:])


@pytest.mark.parametrize("match_size", [-1, 0, 1])
def test_a_match_size_below_two_is_refused(match_size):
    with pytest.raises(
        ValueError, match=f"match_size {match_size}: greedy takes a whole number, at least 2"
    ):
        make_coupling("greedy", match_size=match_size)


def test_pairs_are_made_as_they_are_asked_for():
    taken = []

    def batches():
        for k in range(3):
            taken.append(k)
            yield Batch(samples(4, seed=k))

    pairs = Greedy(10, SEED).pairs(batches())
    assert taken == []
    next(pairs)
    assert taken == [0]


def one_by_one(costs):
    free, chosen = list(range(costs.shape[1])), []
    for row in costs.tolist():
        chosen.append(min(free, key=lambda column: (row[column], column)))
        free.remove(chosen[-1])
    return chosen


def cost_matrices():
    stream = torch.Generator().manual_seed(0)
    for rows, columns in [(1, 1), (1, 9), (5, 9), (9, 9), (40, 60), (60, 60)]:
        yield f"random {rows}x{columns}", torch.rand(rows, columns, generator=stream)
    row = torch.rand(30, generator=stream)
    yield "equal rows", row.expand(20, -1).clone()
    yield "equal rows, square", row.expand(30, -1).clone()
    ordered = torch.arange(12.0).expand(12, -1).clone()
    yield "all want the first", ordered
    yield "near-equal rows", row.expand(25, -1) + 1e-3 * torch.rand(25, 30, generator=stream)
    yield "negative", -torch.rand(10, 10, generator=stream)


@pytest.mark.parametrize("form", [serial_choice, deferred_acceptance])
@pytest.mark.parametrize("costs", [pytest.param(c, id=name) for name, c in cost_matrices()])
def test_both_forms_choose_row_by_row(costs, form):
    expected, before = one_by_one(costs), costs.clone()
    found = form(costs)
    assert found.dtype == torch.int64 and found.tolist() == expected
    assert torch.equal(costs, before)
