import pytest

from dansm.config import Sampling, Scale
from dansm.config.scale import BOUNDS

SCALE = "scales.smoke"


def test_a_scale_shrinks_every_budget(parsed):
    config = parsed({"scale": "smoke"})
    vanilla, noisy = (config.run("toy", name) for name in ("vanilla", "noisy"))
    run = config.run_settings(vanilla, 1)
    assert (run.batch_size, run.budget_images, run.steps) == (16, 64, 4)
    assert run.snapshots == 2 and run.snapshot_steps() == [2, 4]
    assert run.network.channels == [8, 8] and run.network.layers_per_block == 1
    assert (run.mixed_precision, config.run_settings(noisy, 1).mixed_precision) == ("no", "no")
    assert config.sampling(vanilla).n_samples == 50
    assert config.recipes["flow"].hardware.threads == 1
    assert config.classifiers["toy"].epochs == 1 and config.potentials.steps == 4
    assert config.potentials.largest_unevenness is None
    assert parsed().potentials.largest_unevenness == 2
    kl = config.autoencoders["kl"]
    assert (kl.batch_size, kl.budget_images) == (16, 64)
    assert config.autoencoders["sd"] == parsed().autoencoders["sd"]
    marginals, cost, share = (
        config.coupling_marginals,
        config.matching_cost,
        config.matching_share,
    )
    assert (marginals.count, marginals.batch_size) == (64, 16)
    assert (cost.match_sizes, cost.dimensions, cost.batch_sizes) == ([10, 20], [12, 20], [1, 16])
    assert (cost.repetitions, cost.seconds) == (4, 1)
    assert (share.match_sizes, share.rounds, share.steps) == ([10, 20], 2, 4)
    pairs = config.noise_sample_pairs["toy"]
    assert (pairs.count, pairs.draws, pairs.embeddings, pairs.time_bins) == (20, 2, 2, 4)
    assert (pairs.match_sizes, pairs.batch_sizes, pairs.pairs) == ([20], [4, 20], 5)
    best = config.best_of_k
    assert (best.dimensions, best.counts, best.draws) == ([4, 20], [1, 10, 20], 20)
    # What says which run it is stays as it was.
    assert config.run_settings(config.run("toy", "greedy_100"), 1).match_size == 100
    student = config.run("toy", "student")
    assert student.coupling.options == {"teacher": "vanilla", "sampler": "rk45", "count": 20}


@pytest.mark.parametrize(
    ("count", "expected"), [(500, (20, None)), (None, (None, 20)), (9, (9, None))]
)
def test_fewer_images_are_read_and_where_all_are_there_may_be_fewer(parsed, count, expected):
    config = parsed({"scale": "smoke", "datasets.rooms.source.count": count})
    source = config.datasets["rooms"].source
    assert (source.count, source.at_most) == expected
    assert config.datasets["toy"] == parsed().datasets["toy"]


def test_only_a_reduced_scale_has_features_of_random_weights(parsed):
    assert parsed().datasets["rooms"].features == ["inception_clean"]
    smoke = parsed({"scale": "smoke"})
    assert smoke.datasets["rooms"].features == ["random_inception_clean"]
    assert smoke.datasets["toy"].features == ["classifier"]


def test_comparisons_take_fewer_seeds_and_runs_have_them(parsed):
    config = parsed({"scale": "smoke", f"{SCALE}.seeds": 1})
    students, toy = config.comparison("students"), config.comparison("toy")
    assert set(map(tuple, students.seeds.values())) == {(2,)}
    assert (toy.seeds["vanilla"], toy.seeds["student"]) == ([1], [2])
    assert config.run("toy", "vanilla").seeds == [1, 2]
    for comparison in config.all_comparisons.values():
        for name, seeds in comparison.seeds.items():
            run = config.run(comparison.dataset, name)
            others = [config.run(run.dataset, other) for other in run.before.values()]
            assert all(set(seeds) <= set(one.seeds) for one in (run, *others))


@pytest.mark.parametrize(
    "changes",
    [
        {f"{SCALE}.channels": 12},
        {f"{SCALE}.snapshots": 50},
        {f"{SCALE}.batch_size": 1},
        {f"{SCALE}.images": 3},
        {"recipes.flow.hardware.gpu": 5},
        {"noise_sample_pairs.toy.draws": 1, "noise_sample_pairs.toy.embeddings": 6},
        {"runs.1.snapshots": 30},
    ],
)
def test_a_scale_leaves_what_can_work(parsed, changes):
    config = parsed(changes | {"scale": "smoke"})
    for run in config.runs:
        settings = config.run_settings(run, run.seeds[0])  # checks budgets and hardware again
        type(settings).model_validate(settings.plain())
        Sampling.model_validate(config.sampling(run).plain())
        steps = settings.snapshot_steps()
        assert sorted(set(steps)) == steps and steps[-1] == settings.steps
    pairs = config.noise_sample_pairs["toy"]
    assert type(pairs).model_validate(pairs.plain()) == pairs


def test_few_numbers_of_steps_are_sampled_where_a_plan_has_them(parsed):
    def plans(name, steps):
        config = parsed({"scale": "smoke", f"{SCALE}.steps": steps, f"{SCALE}.image_sets": 1})
        sampling = config.sampling(config.run("toy", name))
        assert sampling.image_sets == 1
        return sampling.each_snapshot, sampling.final, sampling.final_one_set

    full = parsed()
    everything = full.sampling(full.run("toy", "vanilla"))
    assert plans("vanilla", None) == everything.plans
    kept = [number for number in everything.final["euler"] if number == 3]
    assert kept and plans("vanilla", [3])[:2] == ({"euler": [3]}, {"euler": [3]})
    # What takes other steps is sampled as it would be.
    assert plans("short", [3])[1] == {"heun": [7]}


@pytest.mark.parametrize(("first", "expected"), [(16, 16), (70, None), (None, None)])
def test_the_first_snapshot_stays_where_it_fits(parsed, first, expected):
    if first is not None:
        changes = {"recipes.flow.first_snapshot": first, "recipes.flow.batch_size": 16}
    else:
        changes = {}
    config = parsed(changes | {"scale": "smoke"})
    recipe = config.recipes["flow"]
    assert recipe.first_snapshot == expected
    steps = recipe.snapshot_steps()
    assert steps == sorted({*steps}) and steps[-1] == recipe.steps


def test_the_full_size_is_checked_at_a_reduced_scale_too(problems):
    changes = {"scale": "smoke", "recipes.flow.snapshots": 101}
    assert "budget_images 10050 must cover 101 snapshots" in problems(changes)
    message = "runs differ in n_samples, vanilla has 1000 and greedy_100 60"
    changes = {"scale": "smoke", "runs.0.grid.greedy_100.n_samples": 60}
    assert message in problems(changes).replace("greedy_100 has 60 and vanilla 1000", message)


def test_a_scale_never_enlarges(valid, parsed):
    huge = dict.fromkeys(valid["scales"]["smoke"], 10**6)
    large, full = parsed({SCALE: huge, "scale": "smoke"}), parsed()
    for name in ("autoencoders", "classifiers", "potentials", "networks", "runs", "comparisons"):
        assert getattr(large, name) == getattr(full, name)
    for name in ("noise_sample_pairs", "best_of_k", "matching_cost", "matching_share"):
        assert getattr(large, name) == getattr(full, name)
    for a, b in zip(large.recipes.values(), full.recipes.values(), strict=True):
        assert (a.budget_images, a.batch_size, a.sampling) == (
            b.budget_images,
            b.batch_size,
            b.sampling,
        )
    assert large.all_comparisons == full.all_comparisons


def test_bounds_are_of_fields_and_of_the_scale(parsed):
    scale = parsed().scales["smoke"]
    for model, bounds in BOUNDS.items():
        assert set(bounds) <= set(model.model_fields)
        assert all(getattr(scale, bound) >= 1 for bound in bounds.values())


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"scale": "tiny"}, "scale: unknown 'tiny'; expected one of ['smoke']"),
        ({f"{SCALE}.step": 3}, "scales.smoke.step: unknown key (value 3); expected one of ['batch"),
        (
            {"scales.runs": dict.fromkeys(Scale.model_fields, 4) | {"steps": None}},
            "scales.runs: expected a name that no folder of results has, found 'runs'",
        ),
        ({f"{SCALE}.seeds": 0}, "scales.smoke.seeds: Input should be greater than or equal to 1"),
        ({f"{SCALE}.steps": []}, "scales.smoke.steps: List should have at least 1 item"),
        ({f"{SCALE}.steps": [3, 3]}, "scales.smoke.steps: expected each once, found [3, 3]"),
    ],
)
def test_a_scale_that_cannot_be_is_refused(problems, changes, expected):
    assert expected in problems(changes)
