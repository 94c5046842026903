import json
from statistics import NormalDist

import numpy as np
import pytest
import torch

from dansm.couplings.potentials import (
    Evenness,
    Potentials,
    assign,
    classes_sha256,
    fit_potentials,
    measure_evenness,
)

SEED = 5


def samples(n, shape=(2, 8), seed=0, dtype=torch.float32):
    return torch.randn((n, *shape), generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.fixture(scope="module")
def fitted():
    return fit_potentials(samples(200), seed=SEED, steps=4000, batch_size=256, progress=False)


def test_fitted_potentials_give_the_quantile_coupling_in_one_dimension():
    # Optimal transport on the line is monotone: the i-th point takes the noises between the
    # (i-1)/n and i/n quantiles, so neighbours' scores are equal at the quantile between them.
    x = torch.tensor([-1.0, -0.2, 0.3, 0.5, 1.4])
    fit = fit_potentials(x[:, None], seed=SEED, steps=3000, batch_size=512, progress=False)
    quantiles = torch.tensor([NormalDist().inv_cdf(i / 5) for i in range(1, 5)])
    boundaries = -fit.values.diff() / x.diff()
    assert torch.allclose(boundaries, quantiles, atol=0.02)
    assert abs(fit.values.mean()) < 1e-6


@pytest.mark.parametrize("block", [1, 7, 40, 41, 100])
def test_assignment_is_the_largest_score_whatever_the_block(block):
    x, noise = samples(41, (6,), dtype=torch.float64), samples(50, (6,), 1, torch.float64)
    potentials = samples(41, (1,), 2, torch.float64).squeeze(1)
    scores = [[float((a * z).sum() + g) for a, g in zip(x, potentials, strict=True)] for z in noise]
    expected = [row.index(max(row)) for row in scores]
    assert assign(x, potentials, noise, block).tolist() == expected
    some = torch.tensor([40, 3, 17, 4, 22, 8])
    expected = [max(some.tolist(), key=row.__getitem__) for row in scores]
    assert assign(x, potentials, noise, block, some).tolist() == expected
    assert assign(torch.zeros(9, 6), torch.zeros(9), noise.float(), 2).tolist() == [0] * 50


def test_fitting_brings_usage_to_the_sampling_floor(fitted):
    x = samples(200)
    before = measure_evenness(x, torch.zeros(200), seed=1, per_sample=200)
    after = measure_evenness(x, fitted.values, seed=1, per_sample=200)
    spread = (2 * 199) ** 0.5 / after.noises  # of chi_square under uniform draws
    assert before.chi_square > 100 * before.chi_square_floor
    assert after.chi_square - after.chi_square_floor < 6 * spread + 0.001
    assert before.total_variation > 5 * before.total_variation_floor
    assert after.total_variation < 1.1 * after.total_variation_floor
    assert fitted.steps == 4000 and fitted.evenness.noises == 20 * 200
    assert fitted.evenness == measure_evenness(x, fitted.values, seed=SEED)


@pytest.mark.parametrize(("learning_rate", "batch_size"), [(0.3, 256), (3.0, 256), (1.0, 2048)])
def test_the_fit_depends_little_on_rate_and_batch(learning_rate, batch_size):
    x = samples(200)
    fit = fit_potentials(
        x,
        seed=2,
        steps=400,
        batch_size=batch_size,
        learning_rate=learning_rate,
        progress=False,
    )
    found = measure_evenness(x, fit.values, seed=1, per_sample=100)
    assert found.chi_square - found.chi_square_floor < 0.01


def test_floors_are_those_of_uniform_draws():
    count, per_sample = 30, 20
    stream = torch.Generator().manual_seed(0)
    draws = torch.randint(count, (2000, per_sample * count), generator=stream)
    share = torch.stack([d.bincount(minlength=count) for d in draws]).double() / draws.shape[1]
    floor = measure_evenness(samples(count), torch.zeros(count), seed=0, per_sample=per_sample)
    variation = (share - 1 / count).abs().sum(dim=1).mean() / 2
    assert floor.chi_square_floor == pytest.approx(
        float((count * share.square().sum(dim=1) - 1).mean()), rel=0.02
    )
    assert floor.total_variation_floor == pytest.approx(float(variation), rel=0.01)


def test_fitting_within_classes_brings_usage_to_the_sampling_floor_in_each():
    x, classes = samples(120), torch.tensor([4] * 6 + [0] * 3 + [1]).repeat(12)
    classes[0] = 9  # a class of one
    fit = fit_potentials(x, seed=SEED, steps=3000, batch_size=256, progress=False, classes=classes)
    before = measure_evenness(x, torch.zeros(120), seed=1, per_sample=200, classes=classes)
    after = measure_evenness(x, fit.values, seed=1, per_sample=200, classes=classes)
    assert before.chi_square > 50 * before.chi_square_floor
    assert after.chi_square < 1.5 * after.chi_square_floor
    assert after.total_variation < 1.2 * after.total_variation_floor
    assert after.chi_square_floor == (120 - 4) / (200 * 120)
    assert fit.classes_sha256 == classes_sha256(classes)
    assert fit.evenness == measure_evenness(x, fit.values, seed=SEED, classes=classes)
    for label in (0, 1, 4, 9):
        assert abs(fit.values[classes == label].mean()) < 1e-5
    # A class gets what a fit to it alone comes to.
    alone = fit_potentials(
        x[classes == 0], seed=0, steps=3000, batch_size=64, progress=False
    ).values
    assert torch.allclose(fit.values[classes == 0], alone, atol=0.1)
    assert alone.abs().max() > 1


def test_evenness_within_classes_is_that_of_each_alone_weighted_by_size():
    x, classes = samples(50), torch.tensor([0, 0, 0, 1, 1]).repeat(10)
    values = torch.randn(50, generator=torch.Generator().manual_seed(1))
    found = measure_evenness(x, values, seed=SEED, per_sample=400, classes=classes)
    parts = [(int((own := classes == label).sum()) / 50, own) for label in (0, 1)]
    alone = [
        (share, measure_evenness(x[own], values[own], seed=1, per_sample=400))
        for share, own in parts
    ]
    for field, rel in [
        ("chi_square", 0.05),
        ("chi_square_floor", 1e-6),
        ("total_variation", 0.05),
        ("total_variation_floor", 1e-6),
    ]:
        expected = sum(share * getattr(evenness, field) for share, evenness in alone)
        assert getattr(found, field) == pytest.approx(expected, rel=rel)


def test_a_fit_is_reproducible_and_leaves_the_global_generator_and_samples_alone(capsys):
    before, x = torch.get_rng_state(), samples(20)
    fits = [
        fit_potentials(x, seed=seed, steps=5, batch_size=32, progress=False) for seed in (1, 1, 2)
    ]
    assert torch.equal(fits[0].values, fits[1].values)
    assert not torch.equal(fits[0].values, fits[2].values)
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(x, samples(20))
    assert capsys.readouterr().err == ""


def test_potentials_survive_a_file(fitted, tmp_path):
    path = tmp_path / "new" / "potentials.npz"
    fitted.save(path)
    found = Potentials.load(path, samples(200))
    assert torch.equal(found.values, fitted.values)
    assert found.values.dtype == fitted.values.dtype
    for field in ("steps", "dataset_sha256", "evenness"):
        assert getattr(found, field) == getattr(fitted, field)


def test_a_file_that_cannot_be_written_leaves_the_old_one(fitted, tmp_path, monkeypatch):
    path = tmp_path / "potentials.npz"
    fitted.save(path)
    before = path.read_bytes()
    monkeypatch.setattr("os.fsync", lambda descriptor: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        fitted.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_file_tells_the_classes_of_the_fit(tmp_path):
    x, classes, path = samples(6), torch.arange(6) % 2, tmp_path / "potentials.npz"
    fit_potentials(x, seed=0, steps=2, batch_size=8, progress=False, classes=classes).save(path)
    assert Potentials.load(path, x, classes).classes_sha256 == classes_sha256(classes)
    for other in (None, classes.flip(0)):
        with pytest.raises(ValueError, match=r"potentials\.npz: .*found within the classes"):
            Potentials.load(path, x, other)


def written(path, **changes):
    meta = {"dataset_sha256": "0", "steps": 1, "evenness": vars(Evenness(1, 0.0, 0.0, 0.0, 0.0))}
    content = {"values": np.zeros(3, np.float32), "meta": json.dumps(meta), **changes}
    np.savez(path, **{key: value for key, value in content.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"values": None}, "found another or a damaged one"),
        ({"meta": None}, "found another or a damaged one"),
        ({"meta": "{}"}, "found another or a damaged one"),
        ({"meta": "["}, "found another or a damaged one"),
        ({"values": np.zeros((3, 1), np.float32)}, r"found shape \(3, 1\)"),
        ({"values": np.zeros(3, np.int64)}, "found .* torch.int64"),
        ({"values": np.full(3, np.nan)}, "expected finite values"),
        ({"values": np.zeros(4, np.float32)}, "expected 3 for as many samples, found 4"),
        ({}, "expected those of the dataset .* found those of 0"),
    ],
)
def test_unsuitable_files_are_refused_by_name(tmp_path, changes, found):
    path = tmp_path / "potentials.npz"
    written(path, **changes)
    with pytest.raises(ValueError, match=rf"potentials\.npz: .*{found}"):
        Potentials.load(path, samples(3))


@pytest.mark.parametrize("content", [None, b"", b"no archive", "half"])
def test_missing_and_cut_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "potentials.npz"
    if content == "half":
        written(path)
        content = path.read_bytes()[:200]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=r"potentials\.npz: expected .*found"):
        Potentials.load(path)


@pytest.mark.parametrize(
    ("bad", "options", "found"),
    [
        (torch.full((5, 2), torch.inf), {}, "found NaN or infinity"),
        (torch.full((3, 8), 3e38), {}, "found a largest value of 3e\\+38"),
        (torch.zeros(1, 2), {}, "expected at least 2, found 1"),
        (torch.zeros(3, 2), {"steps": 0}, "steps 0: expected a whole number, at least 1"),
        (torch.zeros(3, 2), {"batch_size": 0}, "batch_size 0: expected a whole number"),
        (
            torch.zeros(3, 2),
            {"learning_rate": float("nan")},
            "learning_rate nan: expected a finite number",
        ),
        (torch.zeros(3, 2), {"classes": torch.zeros(3)}, "classes: .* of integers, found"),
        (torch.zeros(3, 2), {"classes": torch.arange(4)}, r"classes: .*\(3,\) .*found \(4,\)"),
    ],
)
def test_a_fit_refuses_unsuitable_input(bad, options, found):
    with pytest.raises(ValueError, match=found):
        fit_potentials(bad, seed=0, progress=False, **options)
