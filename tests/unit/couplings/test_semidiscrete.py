import numpy as np
import pytest
import torch

from dansm.couplings.base import Batch
from dansm.couplings.independent import Independent
from dansm.couplings.potentials import (
    Evenness,
    Potentials,
    classes_sha256,
    dataset_sha256,
    fit_potentials,
)
from dansm.couplings.semidiscrete import Semidiscrete
from dansm.randomness import generator

SEED = 5


def samples(n, shape=(2, 8), seed=0, dtype=torch.float32):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


def given(x, values, classes=None):
    """Potentials that need no fit."""
    within = None if classes is None else classes_sha256(classes)
    return Potentials(values, dataset_sha256(x), 0, Evenness(1, 0.0, 0.0, 0.0, 0.0), within)


def some_potentials(n):
    return torch.randn(n, generator=torch.Generator().manual_seed(1))


def coupling_of(x, seed=SEED):
    return Semidiscrete(0, seed, samples=x, potentials=given(x, some_potentials(len(x))))


@pytest.mark.parametrize("shape", [(5,), (3, 4), (1, 4, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pairs_are_the_stream_s_noise_and_its_samples(shape, dtype):
    x = samples(30, shape)
    coupling = coupling_of(x)
    values = some_potentials(30).double()
    batches = [
        Batch(torch.zeros((n, *shape), dtype=dtype), {"label": torch.ones(n)}) for n in (9, 4)
    ]
    found = list(coupling.pairs(batches))
    assert len(found) == 2
    for k, (batch, pairs) in enumerate(zip(batches, found, strict=True)):
        noise = torch.randn(batch.samples.shape, generator=generator(SEED, "noise", k))
        rows = (noise.double().flatten(1) @ x.double().flatten(1).T + values).argmax(dim=1)
        assert torch.equal(pairs.noise, noise.to(dtype)) and pairs.noise.dtype == dtype
        assert torch.equal(pairs.samples, x[rows].to(dtype)) and pairs.samples.dtype == dtype
        assert pairs.extras.keys() == {"row"} and torch.equal(pairs.extras["row"], rows)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_dataset_may_have_another_dtype_than_the_batches(dtype):
    x = samples(30, dtype=dtype)
    (pairs,) = coupling_of(x).pairs([Batch(torch.zeros(8, 2, 8))])
    assert torch.equal(pairs.samples, x[pairs.extras["row"]].float())
    values = fit_potentials(x, seed=0, steps=2, batch_size=8, progress=False).values
    assert values.dtype == torch.promote_types(dtype, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_with_labels_each_noise_takes_a_sample_of_the_wanted_class(dtype):
    x, classes, values = samples(30), torch.tensor([5, 5, -2]).repeat(10), some_potentials(30)
    coupling = Semidiscrete(
        0,
        SEED,
        samples=x,
        potentials=given(x, values, classes),
        labels="label",
        classes=classes,
    )
    wanted = torch.tensor([5, -2, 5, 5, -2, 5, 5])
    (pairs,) = coupling.pairs([Batch(torch.zeros(7, 2, 8, dtype=dtype), {"label": wanted})])
    noise = torch.randn(7, 2, 8, generator=generator(SEED, "noise", 0))
    scores = noise.double().flatten(1) @ x.double().flatten(1).T + values
    scores[wanted[:, None] != classes] = -torch.inf
    assert torch.equal(pairs.extras["row"], scores.argmax(dim=1))
    assert torch.equal(pairs.extras["label"], wanted)
    assert torch.equal(pairs.noise, noise.to(dtype))
    assert torch.equal(pairs.samples, x[pairs.extras["row"]].to(dtype))
    strange = Batch(torch.zeros(2, 2, 8), {"label": torch.tensor([5, 3])})
    with pytest.raises(
        ValueError, match=r"extras\['label'\]: expected one of .* 2 classes, from -2 to 5, found 3"
    ):
        next(coupling.pairs([strange]))


def test_classes_and_labels_belong_together_and_to_the_potentials():
    x, classes = samples(4), torch.tensor([0, 0, 1, 1])
    over_all, within = given(x, torch.zeros(4)), given(x, torch.zeros(4), classes)
    for potentials, options, found in [
        (within, {"labels": "label"}, "found labels 'label' and no classes"),
        (within, {"classes": classes}, "found labels None and classes"),
        (within, {}, "expected those fitted over all samples, found within the classes"),
        (over_all, {"labels": "label", "classes": classes}, "found over all samples"),
        (within, {"labels": "label", "classes": classes.flip(0)}, "expected .* within the classes"),
        (within, {"labels": "label", "classes": classes[:3]}, r"expected shape \(4,\) of integers"),
    ]:
        with pytest.raises(ValueError, match=found):
            Semidiscrete(samples=x, potentials=potentials, **options)


@pytest.mark.parametrize(
    "other",
    [
        coupling_of(samples(30), seed=SEED + 1),
        coupling_of(samples(31)),
        Semidiscrete(0, SEED, samples=samples(30), potentials=given(samples(30), torch.zeros(30))),
        Independent(0, SEED),
    ],
    ids=["seed", "count", "potentials", "name"],
)
def test_a_state_of_another_coupling_is_refused(other):
    with pytest.raises(ValueError, match="state of another coupling"):
        coupling_of(samples(30)).load_state_dict(other.state_dict())


def test_potentials_of_other_samples_are_refused():
    x, other = samples(30), samples(30, seed=1)
    with pytest.raises(ValueError, match="expected those of the dataset"):
        Semidiscrete(samples=x, potentials=given(other, torch.zeros(30)))
    with pytest.raises(ValueError, match="expected 30 for as many samples, found 29"):
        Semidiscrete(samples=x, potentials=given(x, torch.zeros(29)))
    with pytest.raises(ValueError, match="match_size 5: semidiscrete"):
        Semidiscrete(5, samples=x, potentials=given(x, torch.zeros(30)))


def test_in_the_covariance_metric_noises_are_weighed_before_they_choose():
    spread = torch.tensor([3.0, 1.0, 0.1])
    x = samples(30, (3,), seed=1) * spread
    fitted = fit_potentials(
        x, seed=0, steps=400, batch_size=512, metric="covariance", progress=False
    )
    assert fitted.metric == "covariance" and fitted.seconds > 0
    assert fitted.evenness.chi_square < 2 * fitted.evenness.chi_square_floor
    coupling = Semidiscrete(seed=SEED, samples=x, potentials=fitted, metric="covariance")
    (pairs,) = coupling.pairs([Batch(torch.zeros(500, 3))])
    z = generator_noise(500, 3)
    assert torch.equal(pairs.noise, z)
    cov = np.cov(x.double().numpy().T)
    cov *= 3 / np.trace(cov)
    scores = z.double().numpy() @ cov @ x.double().numpy().T + fitted.values.double().numpy()
    assert (scores.argmax(1) == pairs.extras["row"].numpy()).mean() > 0.99
    plain = z.double().numpy() @ x.double().numpy().T + fitted.values.double().numpy()
    assert (plain.argmax(1) == pairs.extras["row"].numpy()).mean() < 0.9


def generator_noise(*shape):
    return torch.randn(shape, generator=generator(SEED, "noise", 0))


def test_a_metric_is_one_that_exists_and_that_of_the_potentials(tmp_path):
    x = samples(9, (4,))
    with pytest.raises(ValueError, match=r"metric 'cosine': expected one of \['euclidean'"):
        fit_potentials(x, seed=0, steps=1, metric="cosine", progress=False)
    fitted = fit_potentials(x, seed=0, steps=1, metric="covariance", progress=False)
    fitted.save(tmp_path / "potentials.npz")
    message = "expected those of the metric 'euclidean', found those of 'covariance'"
    with pytest.raises(ValueError, match=rf"potentials\.npz: .*{message}"):
        Potentials.load(tmp_path / "potentials.npz", x)
    with pytest.raises(ValueError, match=message):
        Semidiscrete(samples=x, potentials=fitted)
    loaded = Potentials.load(tmp_path / "potentials.npz", x, metric="covariance")
    assert (loaded.metric, loaded.seconds) == ("covariance", fitted.seconds)
