"""What couplings would cost at sizes that were not run: the formulas, and that the plan agrees."""

import inspect
import math
from dataclasses import replace

import pandas as pd
import pytest

from dansm.analysis import scale
from dansm.analysis.scale import (
    BATCH,
    CARD,
    CASES,
    GPUS,
    Case,
    Data,
    Times,
    Training,
    cost_of,
    fit_noises,
    limits_of,
    product_seconds,
    scale_table,
)
from dansm.couplings import fit_potentials
from dansm.couplings.potentials import measure_evenness
from dansm.errors import InputError
from dansm.io.tables import MATCHING_COST_COLUMNS, read_table
from dansm.models.flops import DEFAULT_GPU
from dansm.publish.archive import REFERENCE
from dansm.training.inputs import fit_dataset_potentials
from dansm.workflow import planning

from ..test_project import ROOT

D = 16
DATA = Data("Some", 1_000_000, (4, 2, 2), pixels=48, classes=10, latent=True)
TRAINING = Training(flops=1e9, parameters=10, images=2_000_000)
# Nothing but operations counts.
QUICK = replace(CARD, bandwidth=math.inf)


@pytest.fixture
def costs():
    """Times of a machine that draws a noise in 1 µs and assigns 100 samples in 5 µs each."""
    rows = [
        ("independent", None, 64, 2.0),
        ("independent", None, 1024, 1.0),
        ("scipy", 100, None, 5.0),
        ("scipy", 10_000, None, None),
        ("knn", 10, 1024, 20.0),
        ("loom", None, 1024, 7.0),
        ("semidiscrete", 1000, 1024, 30.0),
    ]
    names = ["method", "match_size", "batch_size", "microseconds_per_sample"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(dimensions=D, threads=2, processor="AMD")


def cost(costs, coupling, size=0, gpus=1, data=DATA, card=QUICK, **case):
    return cost_of(Case(coupling, size, **case), data, TRAINING, Times(costs), gpus, card)


def test_a_product_takes_its_operations_or_the_reading_of_its_columns():
    card = replace(CARD, products=1e12, bandwidth=1e9)
    assert product_seconds(1e6, 10, 5, card) == pytest.approx(2 * 1e6 * 10 * 5 / 1e12)
    assert product_seconds(1, 10, 5, card) == pytest.approx(4 * 10 * 5 / 1e9)


def test_independent_draws(costs):
    assert vars(cost(costs, "independent")) == vars(scale.Cost(cpu=1e-6))
    assert cost(costs, "independent", gpus=64).cpu == 2e-6


def test_greedy_is_linear_in_the_match_size(costs):
    one, ten = cost(costs, "greedy", 1000), cost(costs, "greedy", 10_000)
    assert one.gpu == pytest.approx(1000 * D / QUICK.products)
    assert one.gpu_memory == 4 * 1000 * D
    assert (ten.gpu, ten.gpu_memory) == pytest.approx((10 * one.gpu, 10 * one.gpu_memory))
    within = cost(costs, "greedy", 1000, within=True)
    assert within.gpu_memory == 10 * one.gpu_memory
    assert within.gpu == pytest.approx(one.gpu)  # as long as products are large


def test_a_pool_that_is_read_for_few_samples_takes_the_reading(costs):
    slow = replace(CARD, products=math.inf)
    each = [cost(costs, "greedy", 1000, gpus, card=slow).gpu for gpus in (1, 64)]
    assert each[1] == pytest.approx(64 * each[0])
    within = cost(costs, "greedy", 1000, card=slow, within=True).gpu
    assert within == pytest.approx(10 * each[0])


def test_an_assignment_grows_with_the_cube_of_its_samples(costs):
    def assigning(size):
        return cost(costs, "hungarian", size).cpu - 1e-6

    assert assigning(100) == pytest.approx(5e-6)
    assert assigning(1000) == pytest.approx(100 * assigning(100))  # a sample; a set 1 000 times
    found = cost(costs, "hungarian", 100)
    assert found.gpu == pytest.approx(2 * 100 * D / QUICK.products)
    assert found.gpu_memory == 4 * (2 * 100 * D + 100**2) and found.host_memory == 8 * 100**2


@pytest.mark.parametrize("coupling", ["immiscible", "minibatch_ot"])
def test_what_assigns_batches_is_hungarian_of_a_process_share(costs, coupling):
    for gpus in (1, 8):
        found, like = cost(costs, coupling, gpus=gpus), cost(costs, "hungarian", BATCH // gpus)
        assert found.gpu == like.gpu
        drawn = cost(costs, "independent", gpus=gpus).cpu
        assert found.cpu - drawn == pytest.approx(like.cpu - 1e-6)


def test_best_of_k_is_linear_in_k_and_loom_is_as_measured(costs):
    assert cost(costs, "knn", 64).cpu == pytest.approx(64 / 10 * 20e-6)
    loom = cost(costs, "loom")
    assert loom.cpu == 7e-6 and loom.host_memory == 8 * DATA.images


def test_semidiscrete_is_linear_in_the_images_and_its_fit_quadratic(costs):
    one = cost(costs, "semidiscrete")
    two = cost(costs, "semidiscrete", data=replace(DATA, images=2 * DATA.images))
    assert one.gpu == pytest.approx(2 * DATA.images * D / QUICK.products)
    noises = (80 / 3 + 20) * DATA.images
    assert one.before == pytest.approx(noises * one.gpu)
    assert one.before_on_cpu == pytest.approx(noises * DATA.images / 1000 * 30e-6)
    assert (two.gpu, two.before) == pytest.approx((2 * one.gpu, 4 * one.before))
    assert one.gpu_memory == 4 * (DATA.images * D + 16384 * (BATCH + D))
    assert one.host_memory == 4 * DATA.images * D
    within = cost(costs, "semidiscrete", within=True)
    assert (within.gpu, within.before) == pytest.approx((one.gpu / 10, one.before / 10))


def test_the_metric_of_the_covariance_costs_a_product_of_each_noise(costs):
    plain, found = (cost(costs, "semidiscrete", covariance=c) for c in (False, True))
    assert found.gpu - plain.gpu == pytest.approx(2 * D * D / QUICK.products, rel=1e-3)
    assert found.gpu_memory - plain.gpu_memory == 4 * D * D


def test_a_fit_is_just_as_even_as_is_accepted():
    images = 3000
    assert fit_noises(images) == pytest.approx(80 / 3 * images)

    def default(function, name):
        return inspect.signature(function).parameters[name].default

    assert default(measure_evenness, "per_sample") == scale.NOISES_PER_SAMPLE
    assert default(fit_dataset_potentials, "largest_unevenness") == scale.LARGEST_UNEVENNESS
    assert default(fit_potentials, "batch_size") == scale.FIT_BATCH


def test_a_teacher_is_trained_and_evaluated(costs):
    found = cost(costs, "teacher_pairs")
    assert found.trainings == 2 and found.disk == 2 * 4 * DATA.images * D
    assert found.before == pytest.approx(DATA.images * 100 * 1e9 / CARD.evaluation)


def test_hours_hold_all_that_is_done(costs):
    cases = [Case("independent"), Case("teacher_pairs"), Case("hungarian", 100_000)]
    table = scale_table(DATA, TRAINING, costs, cases).set_index([[*"aaabbbccc"], "gpus"])
    alone = 2e6 * 3e9 / CARD.training / 3600
    pairs = 1e6 * 100e9 / CARD.evaluation / 3600
    for gpus in GPUS:
        assert table.loc[("a", gpus), "gpu_hours"] == pytest.approx(alone)
        assert table.loc[("a", gpus), "hours"] == pytest.approx(alone / gpus)
        assert table.loc[("b", gpus), "hours"] == pytest.approx(2 * alone / gpus + pairs)
        assert table.loc[("b", gpus), "gpu_hours"] == pytest.approx(2 * alone + pairs)
        # 5 s a sample: training waits.
        waited = 2e6 * (5 + (1e-6 if gpus < 64 else 2e-6)) / 3600
        assert table.loc[("c", gpus), "gpu_hours"] == pytest.approx(waited, rel=1e-3)
    assert table.loc["a", "limit"].tolist() == [()] * 3
    assert table.loc[("b", 1), "limit"] == ("before",)
    assert "cpu" in table.loc[("c", 1), "limit"]


def test_limits_are_where_costs_reach_them(costs):
    found = limits_of(DATA, TRAINING, costs, QUICK)
    step = TRAINING.seconds(QUICK)
    for size, field, target in (
        (found.pool_by_memory, "gpu_memory", QUICK.memory),
        (found.pool_by_time, "gpu", 0.1 * step),
    ):
        assert getattr(cost(costs, "greedy", size), field) == pytest.approx(target)
    within = cost(costs, "greedy", found.pool_within, within=True)
    assert within.gpu_memory == pytest.approx(QUICK.memory)
    assert cost(costs, "hungarian", found.assigned).cpu == pytest.approx(step)
    assert cost(costs, "knn", found.candidates).cpu == pytest.approx(step)
    fewer = replace(DATA, images=found.images_by_time)
    assert cost(costs, "semidiscrete", data=fewer).gpu == pytest.approx(0.1 * step)
    assert found.visits == (2, 0.25, 2 / 64) and found.batch == (1024, 128, 16)
    assert found.batch_within == (102.4, 12.8, 1.6)


def test_what_is_not_known_is_named(costs):
    with pytest.raises(InputError, match="coupling paired: expected one with a formula"):
        cost(costs, "paired")
    with pytest.raises(InputError, match="scipy: expected times in 12 dimensions, found none"):
        Times(costs).assignment(12, 100)


def test_training_takes_what_the_plan_says():
    rates = planning.Rates(DEFAULT_GPU, [])
    work = planning.Work("train", TRAINING.images, 3 * TRAINING.flops)
    assert TRAINING.images * TRAINING.seconds() == pytest.approx(rates.seconds(work))
    work = planning.Work("evaluate", 7, TRAINING.flops)
    assert 7 * TRAINING.flops / CARD.evaluation == pytest.approx(rates.seconds(work))
    assert scale.ADAPTIVE_EVALUATIONS == planning._ADAPTIVE_EVALUATIONS


def test_the_worst_case_is_no_less_than_what_was_measured():
    """A set of 10 000 gave no result in the time it had: what is calculated is more."""
    costs = read_table(ROOT / REFERENCE / "matching_cost.csv", MATCHING_COST_COLUMNS)
    times = Times(costs)
    sets = costs[(costs["method"] == "scipy") & (costs["match_size"] == 10_000)]
    assert sets["note"].str.contains("no result after 10").all()
    for d in sets["dimensions"]:
        assert 10_000 * times.assignment(d, 10_000) > 10
    # Solved sets took no more than the next smaller one says.
    solved = costs[costs["method"] == "scipy"].dropna(subset="microseconds_per_sample")
    for _, rows in solved.groupby("dimensions"):
        seconds = rows.set_index("match_size")["microseconds_per_sample"]
        assert seconds[1000] <= 100 * seconds[100]


def test_every_coupling_of_a_run_has_its_case():
    from dansm.catalogue import COUPLINGS

    assert {case.coupling for case in CASES} == {
        name for name, entry in COUPLINGS.items() if entry.configurable
    }
