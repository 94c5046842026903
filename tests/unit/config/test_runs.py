import json

import pytest

from dansm.catalogue import Pick
from dansm.config import Recipe, Run, RunSettings, Sampling, load_config

GRID = "runs.0.grid"
LOOP = {"coupling": {"teacher_pairs": {"teacher": "student", "sampler": "euler", "count": 9}}}
TEACHER = f"{GRID}.student.coupling.teacher_pairs"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # picks and their options
        ({f"{GRID}.vanilla": {"coupling": "hungry"}},
         "runs[0].grid.vanilla.coupling: unknown coupling 'hungry'; expected one of ['greedy', 'h"),
        ({f"{GRID}.vanilla": {"coupling": "paired"}}, "unknown coupling 'paired'"),
        ({"runs.0.process": "flow"},
         "runs[0].process: unknown process 'flow'; expected one of ['diffusion', 'edm', 'inter"),
        ({"runs.1.times": "often"}, "runs[1].times: unknown time distribution 'often'"),
        ({"runs.1.loss": {"hinge": {}}}, "runs[1].loss: unknown loss 'hinge'; expected one of ['"),
        ({"runs.1.loss": {"squared_error": {"c": 3}}},
         "runs[1].loss: squared_error.c: unknown option; expected one of ['of']"),
        ({"runs.1.loss": ["squared_error"]},
         "expected the name of a loss, or {name: {options}}, found ['squared_error']"),
        ({"runs.1.coupling": {"loom": {}, "knn": {}}}, "expected the name of a coupling, or"),
        ({"runs.1.coupling": {"loom": {"blur": 1}}},
         "runs[1].coupling: loom.blur: unknown option; expected one of ['stored']"),
        ({"runs.1.coupling": "greedy"}, "runs[1].coupling: greedy.match_size: "),
        ({"runs.1.coupling": {"greedy": {"match_size": True}}}, "valid integer, found True"),
        ({"runs.1.coupling": {"greedy": {"match_size": "100"}}}, "valid integer, found '100'"),
        ({"runs.1.coupling": {"greedy": {"match_size": 2.5}}}, "found 2.5"),
        ({"runs.1.coupling": {"greedy": {"match_size": 1}}},
         "match_size: expected at least 2, found 1; without matching, the coupling is independent"),
        ({"runs.1.coupling": {"loom": {"stored": float("nan")}}},
         "loom: expected plain values and finite numbers, found {'stored': nan}"),
        ({"runs.1.coupling": {"loom": [1]}}, "runs[1].coupling: loom: "),
        ({"runs.1.coupling": {"minibatch_ot": {"regularisation": 0.1}}},
         "regularisation 0.1: only method sinkhorn takes one"),
        ({"runs.1.coupling": {"semidiscrete": {"metric": "city"}}}, "'euclidean' or 'covariance'"),
        # entries and grids
        ({"runs": []}, "runs: List should have at least 1 item after validation, not 0, found []"),
        ({"runs.1": "short"}, "runs[1]: expected either a name, or a grid of runs by their names"),
        ({"runs.1.name": ...}, "runs[1]: expected either a name, or a grid"),
        ({"runs.1.name": {"x": 1}}, "runs[1].name: Input should be a valid string, found {'x': 1}"),
        ({GRID: {1: None}}, "runs[0].grid.1.name: Input should be a valid string, found 1"),
        ({"runs.1.grid": {"x": None}}, "runs[1]: expected either a name, or a grid"),
        ({GRID: {}}, "runs[0].grid: expected runs by their names, found {}"),
        ({f"{GRID}.vanilla": {"dataset": "rooms"}},
         "runs[0].grid.vanilla: expected what differs between the grid's runs, without dataset"),
        ({f"{GRID}.vanilla": 3}, "runs[0].grid.vanilla: expected what differs"),
        ({f"{GRID}.Bad-Name": None}, "runs[0].grid.Bad-Name.name: String should match pattern"),
        ({f"{GRID}.vanilla": {"colour": 3}},
         "runs[0].grid.vanilla.colour: unknown key (value 3); expected one of ['budget_images', '"),
        ({"runs.0.match_size": 5}, "runs[0].match_size: unknown key (value 5)"),
        ({"runs.0.recipe": ...}, "runs[0].recipe: Field required"),
        ({"runs.1.seeds": []}, "runs[1].seeds: List should have at least 1 item"),
        ({"runs.1.seeds": [-1]}, "runs[1].seeds.0: Input should be greater than or equal to 0"),
        ({"runs.1.seeds": [1, 2, 1]}, "runs[1].seeds: expected each once, found [1, 2, 1]"),
        ({"runs.1.name": "vanilla"}, "runs: a second run 'toy vanilla'"),
        # names of other things
        ({"runs.1.dataset": "toys"}, "runs: toys short: dataset: unknown 'toys'; expected one of"),
        ({"runs.1.recipe": "fast"}, "runs: toy short: recipe: unknown 'fast'; expected one of ['d"),
        ({"runs.1.start": "nobody"}, "runs: toy short: start: unknown 'nobody'; expected one of ["),
        ({"runs.1.start": {"file": "x"}},
         "runs[1].start: expected the name of a run, or {folder: PATH}, found {'file': 'x'}"),
        ({"runs.1.start": {"folder": "$NOWHERE/x"}}, "runs[1].start: expected the name"),
        ({"runs.1.start": 3}, "runs[1].start: expected the name of a run, or {folder: PATH}, fou"),
        ({f"{TEACHER}.teacher": "nobody"}, "runs: toy student: teacher: unknown 'nobody'"),
        ({f"{TEACHER}.sampler": "magic"}, "runs: toy student: sampler: unknown 'magic'"),
        ({"recipes.flow.network": "big"},
         "recipes.flow.network: unknown 'big'; expected one of ['other', 'small']"),
        # what goes together
        ({f"{GRID}.vanilla": {"process": "mean_flow"}},
         "toy vanilla: loss: expected mean_velocity, which mean_flow needs, found squared_error"),
        ({f"{GRID}.vanilla": {"process": "mean_flow", "loss": "mean_velocity"}},
         "toy vanilla: network 'small': expected two_times: true for mean_flow"),
        ({f"{GRID}.vanilla": {"loss": "mean_velocity"}},
         "loss mean_velocity: expected a process of ['mean_flow'], found rectified_flow"),
        ({f"{GRID}.vanilla": {"process": "interpolant", "loss": {"squared_error": {"of": "data"}}}},
         "toy vanilla: loss squared_error(of=data): expected a process that predicts data, found"),
        ({f"{GRID}.vanilla": {"loss": {"flow_guided": {"teacher": "nobody"}}}},
         "runs: toy vanilla: guide: unknown 'nobody'"),
        ({f"{GRID}.vanilla": {"loss": {"flow_guided": {"teacher": "vanilla"}}}},
         "runs: a circle of teachers and starts, "),
        ({f"{TEACHER}.count": 99},
         "toy student: teacher_pairs: expected a batch of 100 pairs at least, found 99"),
        ({f"{TEACHER}.inverted": 5}, "inverted: expected a sampler with steps, found 'rk45'"),
        ({f"{TEACHER}.slerp": 0.1}, "slerp: expected 0 to 1 and images that are inverted"),
        ({"samplers.found": {"euler": {"grid": "gits"}}, f"{TEACHER}.sampler": "found",
          f"{TEACHER}.steps": 5},
         "toy student: sampler 'found': expected a grid that is not searched"),
        # teachers and starts
        ({f"{GRID}.vanilla": LOOP}, "runs: a circle of teachers and starts, "),
        ({f"{GRID}.vanilla": {"start": "vanilla"}},
         "runs: a circle of teachers and starts, toy vanilla → toy vanilla"),
        ({f"{GRID}.student.seeds": [3, 4]},
         "toy student: start 'vanilla': expected the run's seeds [3, 4], found no [4]"),
        ({f"{GRID}.student.seeds": [3, 4]},
         "toy student: teacher 'vanilla': expected the run's seeds [3, 4], found no [4]"),
        ({"runs.1.start": "noisy"},
         "toy short: start 'noisy': expected a run of network 'small', found 'other'"),
        ({f"{TEACHER}.steps": 5},
         "toy student: sampler 'rk45' of rectified_flow: rk45: expected no steps, as it cho"),
        ({f"{TEACHER}.sampler": "ddim_trailing", f"{TEACHER}.steps": 5},
         "toy student: sampler 'ddim_trailing' of rectified_flow: euler(grid=trailing): expected"),
        ({f"{TEACHER}.count": ...}, "teacher_pairs.count: "),
        ({"runs.1.name": "x" * 300}, "runs[1].name: String should have at most 100 characters"),
        ({"runs.1.budget_images": 10**30}, "runs[1].budget_images: Input should be less than or"),
        ({"runs.1.seeds": [2**70]}, "runs[1].seeds.0: Input should be less than 9223372036854775"),
        ({"networks.small.attention_at": [7]},
         "networks.small.attention_at: expected heights that the images of its runs have at its l"),
        # samplers and their steps
        ({"samplers.euler": "midpoint"}, "samplers.euler: unknown solver 'midpoint'; expected one"),
        ({"samplers.euler": {"euler": {"grid": "odd"}}}, "unknown grid 'odd'; expected one of ['"),
        ({"samplers.rk45": {"rk45": {"tolerance": True}}}, "rk45.tolerance: "),
        ({"samplers.three_times": {"euler": {"times": [0, 0.7, 0.3, 1]}}}, "rising numbers from 0"),
        ({"samplers.three_times": {"euler": {"times": [0, float("nan"), 1]}}}, "finite numbers"),
        ({"recipes.flow.sampling.each_snapshot": {"ode": [3]}},
         "recipes.flow.sampling: unknown 'ode'; expected one of ['ddim_trailing', 'euler', 'heun'"),
        ({"runs.1.final": {"ode": [3]}}, "runs: toy short: sampling: unknown 'ode'"),
        ({"runs.1.final": {"ddim_trailing": [3]}}, "a grid of rectified_flow, one of ['unif"),
        ({"runs.1.process": "diffusion"}, None),  # Euler on diffusion's own grid
        ({"runs.1.process": "diffusion", "runs.1.final": {"euler": [1001]}},
         "toy short: sampler 'euler' of diffusion: euler: steps: expected 1 to 1000, found 1001"),
        ({"runs.1.process": {"diffusion": {"prediction": "score"}}},
         "runs[1].process: diffusion.prediction: Input should be 'noise', 'velocity' or 'data', f"),
        ({"runs.1.process": {"diffusion": {"zero_snr": True}}},
         "zero_snr: expected the prediction velocity or data beside it, since noise alone says"),
        ({"runs.1.process": {"diffusion": {"zero_snr": True, "prediction": "data"}},
          "runs.1.final": {"euler": [3]}, "comparisons.toy.baseline": ...}, None),
        ({"runs.1.process": {"diffusion": {"zero_snr": True, "prediction": "data"}},
          "runs.1.final": {"heun": [3]}},
         "toy short: sampler 'heun' of diffusion: heun: expected euler, the only solver that beg"),
        ({"runs.1.final": {"rk45": [3]}}, "expected no steps, as it chooses its own, found 3"),
        ({"runs.1.final": {"three_times": [3]}}, "expected no steps, as times are given, found 3"),
        ({"runs.1.final": {"euler": []}}, "euler: steps: expected at least 1, found 0"),
        ({"runs.1.final": {"euler": [3, 3]}}, "runs[1].final.euler: expected each once, found [3"),
        ({"runs.1.final": {"euler": [0]}}, "runs[1].final.euler.0: Input should be greater than"),
        ({"recipes.flow.sampling.final": {}}, "recipes.flow.sampling.final: Dictionary should hav"),
        # recipes and networks
        ({"runs.1.snapshots": 31}, "budget_images 3000 must cover 31 snapshots of at least one"),
        ({"recipes.flow.first_snapshot": 99}, "first_snapshot 99: expected a batch of 100 at lea"),
        ({"recipes.flow.first_snapshot": 9900}, "up to 10050 images, found them after the steps ["),
        ({"recipes.flow.snapshots": 101}, "recipes.flow: budget_images 10050 must cover 101 snaps"),
        ({"recipes.flow.hardware.gpu": 3}, "batch_size 100 must be a multiple of the 3 GPUs"),
        ({"recipes.flow.hardware.gpu": 4}, None),
        ({"recipes.flow.learning_rate": True}, "recipes.flow.learning_rate: expected a number, fo"),
        ({"recipes.flow.learning_rate": -0.1}, "greater than 0, found -0.1"),
        ({"recipes.flow.learning_rate": float("nan")}, "finite number, found nan"),
        ({"recipes.flow.learning_rate": 1e300}, "less than or equal to 100, found 1e+300"),
        ({"recipes.flow.ema_decay": 1}, "recipes.flow.ema_decay: Input should be less than 1"),
        ({"recipes.flow.ema_decay": float("nan")}, "recipes.flow.ema_decay: "),
        ({"recipes.flow.compile": 1}, "recipes.flow.compile: Input should be a valid boolean"),
        ({"recipes.flow.mixed_precision": "fp16"}, "'no' or 'bf16', found 'fp16'"),
        ({"recipes.flow.every_snapshot": {}}, "recipes.flow.every_snapshot: unknown key (val"),
        ({"networks.small.norm_groups": 24}, "networks.small: norm_groups 24 must divide every"),
        ({"networks.small.channels": [32] * 5, "datasets.toy_latent": ..., "autoencoders.kl": ...},
         "toy vanilla: network 'small' halves the image 4 times, so sides must be divisible by 16"),
        ({"networks.small.patch": 2}, None),
        ({"networks.small.patch": 8, "networks.small.attention_at": []},
         "'small' halves the image in patches of 8 1 times, so sides must be divisible by 16; da"),
    ],
)  # fmt: skip
def test_a_run_that_cannot_be_is_refused(problems, parsed, changes, expected):
    if expected is None:
        parsed(changes)
    else:
        assert expected in problems(changes)


def test_a_fault_of_a_whole_grid_is_told_once(problems):
    assert problems({"runs.0.seeds": [-1]}).count("runs[0].seeds.0") == 1


def test_grids_are_runs_by_name(parsed):
    config = parsed()
    names = ["vanilla", "greedy_100", "student", "short", "noisy"]
    assert [run.name for run in config.runs_of("toy")] == names
    student = config.run("toy", "student", seed=3)
    assert (student.teacher, student.start, student.seeds) == ("vanilla", "vanilla", [2, 3])
    assert student.before == {"start": "vanilla", "teacher": "vanilla"}
    assert config.run("toy", "vanilla").before == {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: c.runs_of("rooms"), "'rooms' has no runs; expected one of ['toy']"),
        (lambda c: c.run("toy", "x"), "toy has no run 'x'; expected one of ['greedy_100', 'noisy'"),
        (lambda c: c.run("toy", "noisy", 2), "runs: toy noisy declares the seeds [1], not 2"),
        (lambda c: c.dataset("x"), "unknown dataset 'x'; expected one of ['rooms'"),
        (
            lambda c: c.comparison("x"),
            "unknown comparison 'x'; expected one of ['students', 'toy']",
        ),
    ],
)
def test_what_is_not_declared_is_named(parsed, call, message):
    with pytest.raises(ValueError) as caught:
        call(parsed())
    assert message in str(caught.value)


def test_a_run_takes_its_recipes_values_unless_it_replaces_them(parsed):
    config = parsed()
    vanilla, short = (config.run("toy", name) for name in ("vanilla", "short"))
    plain, own = (config.run_settings(run, 1) for run in (vanilla, short))
    assert (plain.budget_images, plain.snapshots, plain.batch_size) == (10050, 5, 100)
    assert (own.budget_images, own.snapshots, own.batch_size) == (3000, 3, 100)
    assert (own.coupling, own.seed) == (Pick("loom"), 1)
    assert own.network == config.networks["small"] and own.shape == (1, 8, 8)
    full, less = (config.sampling(run) for run in (vanilla, short))
    assert (full.n_samples, less.n_samples) == (1000, 400)
    assert (full.final, less.final) == ({"euler": [3, 5, 10], "rk45": []}, {"heun": [7]})
    assert full.each_snapshot == less.each_snapshot == {"euler": [3, 5]}
    assert less.samplers == {"euler": Pick("euler"), "heun": Pick("heun")}


def test_numbers_may_be_written_as_yaml_does_not_know_them(valid, parsed):
    assert valid["recipes"]["flow"]["learning_rate"] == "1e-4"
    assert parsed().recipes["flow"].learning_rate == 1e-4


@pytest.mark.parametrize(("needs_flips", "run"), [(True, "vanilla"), (False, "student")])
def test_pairs_of_a_teacher_are_not_flipped(parsed, needs_flips, run):
    config = parsed({"datasets.toy.horizontal_flips": True, "runs.1.coupling": "independent"})
    assert config.run_settings(config.run("toy", run), 2).horizontal_flips is needs_flips


def test_samplings_name_steps_and_image_sets(parsed):
    plan = {"recipes.flow.sampling.final_one_set": {"euler": [10, 100], "rk45": []}}
    sampling = parsed(plan).recipes["flow"].sampling
    assert sampling.sets(last=False) == [("euler", 3, 1), ("euler", 5, 1)]
    # What final asks for as well keeps its sets.
    final = [("euler", 3, 2), ("euler", 5, 2), ("euler", 10, 2), ("rk45", 0, 2), ("euler", 100, 1)]
    assert sampling.sets(last=True) == final


@pytest.mark.parametrize(
    ("final", "one_set", "longest"),
    [
        ({"euler": [3, 100], "rk45": []}, {"euler": [1000]}, ("rk45", 0)),
        ({"euler": [3, 100], "heun": [50]}, {}, ("euler", 100)),
        ({"euler": [3]}, {"heun": [1000]}, ("heun", 1000)),
    ],
)
def test_the_longest_sampling_is_the_nearest_to_exact(parsed, final, one_set, longest):
    place = "recipes.flow.sampling"
    config = parsed({f"{place}.final": final, f"{place}.final_one_set": one_set})
    assert config.sampling(config.run("toy", "vanilla")).longest == longest


def test_snapshots_may_be_evenly_spaced_in_the_logarithm(parsed):
    config = parsed({"recipes.flow.first_snapshot": 400, "recipes.flow.snapshots": 5})
    settings = config.run_settings(config.run("toy", "vanilla"), 0)
    # From 4 to 101 steps, each by 2.24 times more.
    assert settings.snapshot_steps() == [4, 9, 20, 45, 101]


@pytest.mark.parametrize("snapshots", [1, 2, 7, 50, 99, 100])
def test_snapshots_are_all_different_and_end_with_the_run(parsed, snapshots):
    config = parsed({"recipes.flow.snapshots": snapshots})
    settings = config.run_settings(config.run("toy", "vanilla"), 1)
    steps = settings.snapshot_steps()
    assert settings.steps == 101  # 10 050 images in batches of 100
    assert len(set(steps)) == snapshots and steps == sorted(steps)
    assert steps[0] >= 1 and steps[-1] == 101


def test_settings_are_equal_as_json_only_if_they_are_equal(parsed):
    config = parsed()
    texts = [
        config.run_settings(run, seed).canonical_json() for run in config.runs for seed in run.seeds
    ]
    assert len(set(texts)) == len(texts)
    assert texts[0] == parsed().run_settings(parsed().runs[0], 1).canonical_json()
    assert list(json.loads(texts[0])) == sorted(json.loads(texts[0]))


def test_settings_of_every_shipped_run_survive_json(pytestconfig):
    config = load_config(pytestconfig.rootpath / "config" / "config.yaml")
    for run in config.runs:
        settings, sampling = config.run_settings(run, run.seeds[0]), config.sampling(run)
        assert RunSettings.model_validate(json.loads(settings.canonical_json())) == settings
        assert Sampling.model_validate(json.loads(json.dumps(sampling.plain()))) == sampling
        assert Run.model_validate(json.loads(json.dumps(run.plain()))) == run


@pytest.mark.parametrize("kind", [RunSettings, Sampling, Recipe])
def test_a_field_added_with_a_default_changes_no_plain_settings(parsed, kind):
    class Later(kind):
        colour: str = "grey"
        warmth: dict[str, int] = {}  # noqa: RUF012

    config = parsed()
    run = config.run("toy", "greedy_100")
    now = {
        RunSettings: config.run_settings(run, 1),
        Sampling: config.sampling(run),
        Recipe: config.recipes["flow"],
    }[kind]
    later = Later.model_validate(now.plain())
    assert later.plain() == now.plain()
    assert later.model_copy(update={"colour": "red"}).plain() != now.plain()


def test_what_equals_a_default_is_not_part_of_settings(parsed):
    config = parsed({"runs.1.coupling": {"loom": {"stored": 1}}})
    plain = config.run_settings(config.run("toy", "short"), 1).plain()
    assert plain["coupling"] == "loom"
    assert not {"times", "loss", "start", "mixed_precision", "horizontal_flips"} & set(plain)
