"""What couplings do to the noise, beside what Gaussian noise shows."""

import math
import time

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import chi2, kstest

from dansm.analysis import marginals
from dansm.analysis.marginals import (
    MeasuredCoupling,
    Stream,
    Window,
    draw_stream,
    measure_coupling_marginals,
    noise_statistics,
    pair_statistics,
)
from dansm.catalogue import Pick
from dansm.couplings import fit_potentials
from dansm.errors import InputError

COUNT, BATCH = 6000, 50
# What matching is for, and so outside of what independent noise shows.
AIMS = ["sample_correlation", "pull", "path_length", "drift"]


def gaussian(n, d, seed, pool=0, rows=100):
    stream = torch.Generator().manual_seed(seed)
    noise, samples = torch.randn(2, n, d, generator=stream, dtype=torch.float64)
    return Stream(noise, samples + 1, torch.randint(rows, (n,), generator=stream), pool)


@pytest.fixture
def store(make_store):
    """Two clusters away from the centre."""
    values = np.random.default_rng(0).standard_normal((300, 1, 4, 4)) * 0.5 + 0.5
    values[:100] -= 1.5
    return make_store(values.astype(np.float32))


@pytest.fixture
def table(store, tmp_path):
    """The table of some methods, by (coupling, window, statistic)."""

    def measure(*methods, **changes):
        settings = {"count": COUNT, "batch_size": BATCH, "seed": 0, **changes}
        path = tmp_path / "new" / "marginals.csv"
        measure_coupling_marginals(store, methods, dataset="toy", path=path, **settings)
        found = pd.read_csv(path)
        return found.set_index(["coupling", "window", "statistic"])

    return measure


def failing(table, coupling, window):
    """The statistics outside of theory, the aims of matching aside."""
    rows = table.loc[coupling, window]
    return set(rows.index[rows["within"].astype(str) == "False"]) - set(AIMS)


def test_statistics_are_those_of_numpy_and_scipy():
    stream, d = gaussian(70, 5, 1), 5
    stream.noise[17] = stream.noise[14]  # repeated within a window
    stream.noise[40] = stream.noise[14]  # and in another
    found = noise_statistics(stream, Window("some", size=4, every=7))
    z, x = (v.numpy().reshape(10, 7, d)[:, :4] for v in (stream.noise, stream.samples))
    square = (z**2).sum(2)
    means = z.mean(1)
    distances = [kstest(row, chi2(d).cdf) for row in square]
    centred = [(v - v.mean(1, keepdims=True)).ravel() for v in (z, x)]
    largest = max(test.statistic for test in distances)
    expected = {
        "mean_norm": np.sqrt(np.mean(np.linalg.norm(means, axis=1) ** 2)),
        "mean_largest": np.abs(means).max(),
        "variance": z.var(1, ddof=1).mean(),
        "variance_deviation": np.abs(z.var(1, ddof=1) - 1).max(),
        "square_norm_mean": square.mean(),
        "square_norm_sd": np.sqrt(square.var(1, ddof=1).mean()),
        "square_norm_ks": largest,
        "square_norm_p": 1 - (1 - min(test.pvalue for test in distances)) ** 10,
        "sample_correlation": np.corrcoef(*centred)[0, 1],
        "distinct": 39 / 40,
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value), name


@pytest.mark.parametrize(("windows", "size", "d"), [(1, 40, 3), (7, 6, 2), (3, 2, 8)])
def test_intervals_hold_gaussian_noise_as_often_as_they_say(monkeypatch, windows, size, d):
    monkeypatch.setattr(marginals, "CONFIDENCE", 0.8)
    repetitions, every = 600, size + 1
    below, above = {}, {}
    for seed in range(repetitions):
        stream = gaussian(windows * every, d, seed)
        for name, (value, low, high) in noise_statistics(
            stream, Window("some", size, every)
        ).items():
            below[name] = below.get(name, 0) + (value < low)
            above[name] = above.get(name, 0) + (value > high)
    assert below.pop("distinct") == above.pop("distinct") == 0
    # Each tail holds a tenth; its share in 600 streams has a standard deviation of 0.012. The gamma
    # distribution of the spread is not exact in so small streams.
    for tail in (below, above):
        for name, count in tail.items():
            slack = 0.06 if name == "square_norm_sd" else 0.045
            assert count / repetitions == pytest.approx(0.1, abs=slack), name


def test_pair_statistics_are_those_of_plain_loops():
    stream = gaussian(60, 4, 2, pool=20, rows=7)
    found = pair_statistics(stream, 8)
    pulls = [float(x @ z / x.norm()) for x, z in zip(stream.samples, stream.noise, strict=True)]
    early = [pulls[first + i] for first in (0, 20, 40) for i in (0, 1)]
    late = [pulls[first + i] for first in (0, 20, 40) for i in (18, 19)]
    shares = [int((stream.rows == row).sum()) / 60 for row in range(8)]
    assert found["pull"].value == pytest.approx(np.mean(pulls))
    assert found["drift"].value == pytest.approx(np.mean(early) - np.mean(late))
    lengths = [float((x - z).norm()) for x, z in zip(stream.samples, stream.noise, strict=True)]
    assert found["path_length"].value == pytest.approx(np.mean(lengths))
    divergence = 8 * sum(share**2 for share in shares) - 1
    assert found["evenness"].value == pytest.approx(divergence - 7 / 60)
    assert math.isnan(pair_statistics(gaussian(60, 4, 2), 100)["drift"].value)


def test_pair_intervals_hold_independent_pairs_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(marginals, "CONFIDENCE", 0.8)
    outside = dict.fromkeys(("pull", "path_length", "drift", "evenness"), 0)
    for seed in range(600):
        found = pair_statistics(gaussian(400, 3, seed, pool=40, rows=20), 20)
        for name in outside:
            value, low, high = found[name]
            outside[name] += not low <= value <= high
    assert outside["pull"] / 600 == pytest.approx(0.2, abs=0.06)
    assert outside["path_length"] / 600 == pytest.approx(0.2, abs=0.06)
    assert outside["drift"] / 600 == pytest.approx(0.2, abs=0.06)
    assert outside["evenness"] / 600 == pytest.approx(0.1, abs=0.05)  # bounded above only


def test_the_time_of_matching_leaves_out_that_of_loading(store, monkeypatch):
    batches = marginals._batches

    def slowly(*arguments):
        for batch in batches(*arguments):
            time.sleep(0.02)
            yield batch

    monkeypatch.setattr(marginals, "_batches", slowly)
    stream = draw_stream(
        store, MeasuredCoupling(Pick("independent")), count=500, batch_size=50, seed=0
    )
    assert 0 < stream.seconds < 0.1  # loading took 0.2
    value = pair_statistics(stream, 300)["microseconds_per_sample"].value
    assert value == pytest.approx(1e6 * stream.seconds / 500)


def test_evenness_tells_even_from_uneven_use():
    even = gaussian(400, 3, 0)._replace(rows=torch.arange(400) % 20)
    uneven = gaussian(400, 3, 0)._replace(rows=torch.arange(400) % 15)
    value, low, _ = pair_statistics(even, 20)["evenness"]
    assert value == low == -19 / 400
    value, _, high = pair_statistics(uneven, 20)["evenness"]
    assert value > high


def test_independent_noise_passes_everywhere(table):
    found = table(MeasuredCoupling(Pick("independent")))
    assert set(found.index.get_level_values("window")) == {"batch", "stream"}
    inside = found["within"].astype(str)
    without = {("independent", "stream", name) for name in ("drift", "microseconds_per_sample")}
    assert set(inside[inside != "True"].index) == without
    assert found["within"][list(without)].isna().all()
    assert set(found["claim"]) == {"batch"} and set(found["n"]) == {COUNT}
    assert math.isnan(found["value"]["independent", "stream", "drift"])


def test_best_of_k_fails_visibly(table):
    found = table(MeasuredCoupling(Pick("knn", {"match_size": 16})))
    for window in ("batch", "stream"):
        variance = found.loc["knn", window, "variance"]
        assert variance["value"] < 0.9 and not variance["within"]
        assert {"mean_norm", "square_norm_mean", "square_norm_p"} <= failing(found, "knn", window)
    assert set(found["claim"]) == {"none"}


def test_greedy_is_gaussian_over_pools_and_not_at_their_start(table):
    found = table(MeasuredCoupling(Pick("greedy", {"match_size": 500})))
    assert failing(found, "greedy", "pool") == failing(found, "greedy", "stream") == set()
    assert {"mean_norm", "square_norm_mean", "variance"} <= failing(found, "greedy", "first batch")
    assert "square_norm_ks" in failing(found, "greedy", "batch")
    assert found["value"]["greedy", "stream", "drift"] > 0.5
    assert found["n"]["greedy", "first batch", "variance"] == 12 * BATCH


@pytest.mark.parametrize(
    ("method", "windows"),
    [
        (
            MeasuredCoupling(Pick("hungarian", {"match_size": 100})),
            ["batch", "first batch", "set", "stream"],
        ),
        (MeasuredCoupling(Pick("immiscible", {"quantized": True})), ["batch", "stream"]),
        (MeasuredCoupling(Pick("minibatch_ot")), ["batch", "stream"]),
        (MeasuredCoupling(Pick("semidiscrete")), ["batch", "stream"]),
        (MeasuredCoupling(Pick("semidiscrete", {"metric": "covariance"})), ["batch", "stream"]),
    ],
)
def test_optimal_assignments_pull_and_stay_gaussian(store, table, tmp_path, method, windows):
    if method.coupling.name == "semidiscrete":
        samples = store.batch(np.arange(len(store)))
        method = method._replace(potentials=tmp_path / "potentials.npz")
        fitted = fit_potentials(
            samples, seed=0, steps=300, progress=False, **method.coupling.options
        )
        fitted.save(method.potentials)
    found = table(method)
    assert list(dict.fromkeys(found.index.get_level_values("window"))) == windows
    # Weighed by their covariance two clusters are nearly on a line: too few steps for even use.
    uneven = {"evenness"} if method.coupling.options.get("metric") == "covariance" else set()
    for window in windows:
        assert failing(found, method.coupling.name, window) - uneven == set()
    assert found["value"][method.coupling.name, "stream", "pull"] > 0.5
    if method.coupling.name == "hungarian":
        assert found["within"].astype(str)["hungarian", "stream", "drift"] == "True"


def test_noises_drawn_twice_or_kept_are_seen(table):
    sinkhorn = table(MeasuredCoupling(Pick("minibatch_ot", {"method": "sinkhorn"})))
    assert sinkhorn["value"]["minibatch_ot", "batch", "distinct"] < 0.95
    assert set(sinkhorn["claim"]) == {"none"}
    assert set(sinkhorn["options"]) == {"method=sinkhorn"}
    loom = table(MeasuredCoupling(Pick("loom")))
    assert failing(loom, "loom", "fixed set") == set()
    assert loom["value"]["loom", "stream", "distinct"] == 300 / COUNT
    assert {"distinct", "mean_norm"} <= failing(loom, "loom", "stream")


def test_streams_are_whole_pools_of_shuffled_epochs(store):
    settings = {"count": 610, "batch_size": BATCH, "seed": 0}
    stream = draw_stream(store, MeasuredCoupling(Pick("greedy", {"match_size": 200})), **settings)
    assert stream.noise.shape == stream.samples.shape == (800, 16) and stream.pool == 200
    expected = store.batch(stream.rows.numpy()).flatten(1).double()
    assert torch.equal(stream.samples, expected)
    orders = [stream.rows[first : first + 300] for first in (0, 300)]
    assert all(sorted(order.tolist()) == list(range(300)) for order in orders)
    assert not torch.equal(*orders)
    again = draw_stream(store, MeasuredCoupling(Pick("greedy", {"match_size": 200})), **settings)
    assert torch.equal(again.noise, stream.noise)
    other = draw_stream(store, MeasuredCoupling(Pick("independent")), **settings)
    assert len(other.noise) == 610 and not torch.equal(other.rows[:300], orders[0])


@pytest.mark.parametrize("size", [1, 301])
def test_batches_that_cannot_be_measured_are_refused(table, size):
    with pytest.raises(InputError, match=f"batch_size: expected from 2 to 300, found {size}"):
        table(MeasuredCoupling(Pick("independent")), batch_size=size)


def test_missing_and_foreign_potentials_are_refused(table, tmp_path):
    method = MeasuredCoupling(Pick("semidiscrete"))
    with pytest.raises(InputError, match="semidiscrete: expected potentials, found none"):
        table(method)
    other = fit_potentials(torch.randn(300, 1, 4, 4), seed=0, steps=1, progress=False)
    other.save(tmp_path / "other.npz")
    with pytest.raises(InputError, match=r"other\.npz: .* expected those of the dataset"):
        table(method._replace(potentials=tmp_path / "other.npz"))
