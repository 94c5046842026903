import pytest
import torch

from dansm.couplings.base import Batch
from dansm.couplings.independent import Independent
from dansm.couplings.paired import Paired, slerped


def arrays(n=10, shape=(2, 3), dtype=torch.float32):
    stream = torch.Generator().manual_seed(0)
    return [torch.randn((n, *shape), generator=stream).to(dtype) for _ in range(2)]


def paired(*args, **kwargs):
    noise, samples = arrays(*args, **kwargs)
    return Paired(noise=noise, samples=samples)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("row_dtype", [torch.int32, torch.int64])
def test_both_are_looked_up_by_row(shape, dtype, row_dtype):
    noise, samples = arrays(shape=shape)
    batches = [
        Batch(torch.zeros((len(rows), *shape), dtype=dtype), {"row": rows, "label": rows % 2})
        for rows in torch.tensor([7, 0, 3, 3, 9], dtype=row_dtype).split([3, 2])
    ]
    found = list(Paired(noise=noise, samples=samples).pairs(batches))
    for batch, pairs in zip(batches, found, strict=True):
        for given, looked_up in ((noise, pairs.noise), (samples, pairs.samples)):
            expected = [given[int(row)].to(dtype) for row in batch.extras["row"]]
            assert torch.equal(looked_up, torch.stack(expected)) and looked_up.dtype == dtype
        assert pairs.extras == batch.extras


ZEROS = torch.zeros(2, 2, 3)


@pytest.mark.parametrize(
    ("batch", "found"),
    [
        (Batch(ZEROS), r"expected extras\['row'\].*found extras \[\]"),
        (Batch(ZEROS, {"row": torch.tensor([0, 10])}), "rows from 0 to 9, found 0 to 10"),
        (Batch(ZEROS, {"row": torch.tensor([-1, 2])}), "rows from 0 to 9, found -1 to 2"),
        (Batch(ZEROS, {"row": torch.zeros(2)}), r"found \(2,\) of torch.float32"),
        (Batch(ZEROS, {"row": torch.zeros(2, 1, dtype=torch.int64)}), r"found \(2, 1\)"),
    ],
)
def test_unsuitable_batches_are_refused(batch, found):
    with pytest.raises(ValueError, match=found):
        next(paired().pairs([batch]))


def changed(array, row, value):
    array = array.clone()
    array[row, 0] = value
    return array


@pytest.mark.parametrize(
    ("noise", "samples", "found"),
    [
        (torch.zeros(4, 3), torch.zeros(5, 3), r"found noise \(4, 3\) and samples \(5, 3\)"),
        (torch.zeros(4, 3), torch.zeros(4, 2), r"found noise \(4, 3\) and samples \(4, 2\)"),
        (torch.zeros(0, 3), torch.zeros(0, 3), r"noise: .*found shape \(0, 3\)"),
        (torch.zeros(4), torch.zeros(4), r"noise: .*found shape \(4,\)"),
        (torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.int64), "samples: .*torch.int64"),
        (torch.zeros(4, 3), changed(torch.zeros(4, 3), 2, torch.nan), "samples: .* in row 2"),
        (changed(torch.zeros(9000, 3), 8500, torch.inf), torch.zeros(9000, 3), "noise: .*row 8500"),
    ],
)
def test_unsuitable_pairs_are_refused(noise, samples, found):
    with pytest.raises(ValueError, match=found):
        Paired(noise=noise, samples=samples)


def test_a_match_size_is_refused():
    noise, samples = arrays()
    with pytest.raises(ValueError, match="match_size 2: paired"):
        Paired(2, noise=noise, samples=samples)


def test_only_a_state_of_such_pairs_is_taken():
    paired().load_state_dict(paired().state_dict())
    for other in (paired(9), paired(shape=(6,)), Independent()):
        with pytest.raises(ValueError, match="state of another coupling"):
            paired().load_state_dict(other.state_dict())


def pairs_over(coupling, count, batches):
    rows = torch.arange(count)
    return [
        next(coupling.pairs([Batch(torch.zeros(count, 4), {"row": rows})])) for _ in range(batches)
    ]


def gaussian_pairs(count=4000):
    noise = torch.randn(count, 4, generator=torch.Generator().manual_seed(0))
    return noise, torch.zeros_like(noise)


def test_annealed_noises_turn_from_fresh_ones_into_the_pairs():
    """At b the variance is 1 and the correlation with the pair's noise √(1 − b²)."""
    noise, samples = gaussian_pairs()
    coupling = Paired(noise=noise, samples=samples, annealed=4 * 4000)
    for k, pairs in enumerate(pairs_over(coupling, 4000, 6)):
        b = max(0, 1 - k / 4)
        assert float(pairs.noise.var()) == pytest.approx(1, abs=0.04)
        product = float((pairs.noise * noise).mean())
        assert product == pytest.approx((1 - b**2) ** 0.5, abs=0.04)
        if b == 0:
            assert torch.equal(pairs.noise, noise)


def test_annealing_continues_from_its_state():
    noise, samples = gaussian_pairs(8)
    whole, first, second = (Paired(noise=noise, samples=samples, annealed=40) for _ in range(3))
    expected = pairs_over(whole, 8, 4)[2:]
    pairs_over(first, 8, 2)
    second.load_state_dict(first.state_dict())
    for one, other in zip(pairs_over(second, 8, 2), expected, strict=True):
        assert torch.equal(one.noise, other.noise)
    with pytest.raises(ValueError, match="another coupling"):
        Paired(noise=noise, samples=samples).load_state_dict(first.state_dict())


def test_noises_of_inverted_images_move_on_a_circle():
    noise, samples = gaussian_pairs(400)
    coupling = Paired(noise=noise, samples=samples, generated=100, slerp=0.3)
    (pairs,) = pairs_over(coupling, 400, 1)
    assert torch.equal(pairs.noise[:100], noise[:100])
    angle = torch.cosine_similarity(pairs.noise[100:], noise[100:]).clamp(-1, 1).acos()
    assert angle.min() > 0 and angle.max() < 0.3 * torch.pi
    assert float(angle.mean()) == pytest.approx(0.15 * torch.pi / 2, rel=0.15)


def test_the_way_along_the_circle_begins_and_ends_at_its_ends():
    one, other = torch.randn(2, 5, 2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(slerped(one, other, torch.zeros(5)), one)
    torch.testing.assert_close(slerped(one, other, torch.ones(5)), other)
    halfway = slerped(one, other, torch.full((5,), 0.5)).flatten(1)
    lengths = [x.flatten(1).norm(dim=1) for x in (one, other)]
    torch.testing.assert_close(halfway.norm(dim=1), sum(lengths) / 2)
    between = torch.cosine_similarity(halfway, one.flatten(1)).acos()
    whole = torch.cosine_similarity(one.flatten(1), other.flatten(1)).acos()
    torch.testing.assert_close(between, whole / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"slerp": 1.0}, "expected a share below 1"), ({"annealed": -1}, "annealed -1")],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Paired(noise=torch.zeros(2, 2), samples=torch.zeros(2, 2), **options)
