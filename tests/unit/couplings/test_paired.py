import pytest
import torch

from dansm.couplings.base import Batch
from dansm.couplings.independent import Independent
from dansm.couplings.paired import Paired


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
