"""What rules ask of the shipped configuration, and of changes to it."""

import re
from pathlib import Path
from types import SimpleNamespace as Wildcards

import pytest

from dansm.catalogue import Pick
from dansm.config import parse_config, read_yaml
from dansm.errors import InputError
from dansm.figures.notebooks import read_notebooks
from dansm.io.files import write_json
from dansm.workflow.lookups import Lookups
from dansm.workflow.run_lookups import pairs_name

from ..test_project import ROOT

NOTEBOOKS = read_notebooks(ROOT / "notebooks")


def look_up(**changes):
    content = read_yaml(ROOT / "config/config.yaml") | changes
    return Lookups(parse_config(content), NOTEBOOKS)


@pytest.fixture(scope="module")
def look():
    return look_up()


def run(dataset, name, seed=0, **more):
    return Wildcards(dataset=dataset, run=name, seed=str(seed), **more)


def test_a_run_is_told_without_what_equals_a_default(look):
    settings = look.settings(run("digits", "vanilla"))
    assert settings["process"] == "rectified_flow" and settings["seed"] == 0
    assert not {"coupling", "times", "loss", "start", "compile"} & set(settings)
    assert look.settings(run("digits", "knn_64"))["coupling"] == {"knn": {"match_size": 64}}


def test_a_run_is_trained_on_what_its_coupling_needs(look):
    assert look.training_inputs(run("digits", "dansm_100")) == {}
    assert look.training_inputs(run("digits", "semidiscrete_covariance")) == {
        "potentials": "results/potentials/digits/semidiscrete-covariance.npz"
    }
    assert look.training_inputs(run("digits", "reflow", 1)) == {
        "pairs": "results/pairs/digits/vanilla/seed1/rk45-8192",
        "start": "results/runs/digits/vanilla/seed1/model.safetensors",
    }


def test_a_run_waits_for_its_guide(look):
    found = look.training_inputs(run("digits", "slim_distilled", 1))
    assert found == {
        "pairs": "results/pairs/digits/vanilla/seed1/heun-10-8192",
        "start": "results/runs/digits/slim/seed1/model.safetensors",
        "guide": "results/runs/digits/vanilla/seed1/model.safetensors",
    }


def test_a_comparison_that_samples_itself_has_its_own_results(look):
    name = "few_steps_samplers"
    here = f"results/runs/digits/vanilla/seed0/sampled/{name}"
    assert f"{here}/distances.csv" in look.measured(Wildcards(comparison=name))
    assert {model["path"] for model in look.models(Wildcards(comparison=name))} > {
        f"{here}/samples.npz"
    }
    own = look.sampling(run("digits", "vanilla", comparison=name))
    assert own["each_snapshot"] == {} and "line" in own["final"]
    assert "line" not in look.sampling(run("digits", "vanilla"))["final"]
    tables = look.tables_of_comparison(look.config.comparison(name))
    assert f"results/summary_{name}.csv" in tables and f"results/speed_{name}.csv" not in tables
    assert f"results/costs_{name}.csv" not in tables
    with pytest.raises(InputError, match=r"comparisons\.digits: expected its own sampling"):
        look.sampling(run("digits", "vanilla", comparison="digits"))


def test_searched_grids_are_made_for_each_run_that_is_sampled_on_them(look):
    name = "few_steps_samplers"
    assert look.searched(run("digits", "vanilla")) == []
    found = look.searched(run("digits", "vanilla", 2, comparison=name))
    folder = "results/grids/digits/vanilla/seed2"
    kinds = [f"{grid}-{steps}" for grid in ("evolved", "gits") for steps in (4, 6, 10)]
    assert sorted(found) == sorted(f"{folder}/{kind}.json" for kind in kinds)
    training = ["results/features/digits/training/classifier.npz"]
    assert look.search_reference(run("digits", "vanilla", grid="evolved")) == training
    assert look.search_reference(run("digits", "vanilla", grid="gits")) == []


def test_stages_have_a_table_of_what_they_cost(look):
    tables = look.tables_of_comparison(look.config.comparison("second_stage_digits"))
    assert "results/costs_second_stage_digits.csv" in tables
    assert set(tables) < set(look.target_results("few_steps"))


def test_pairs_are_named_by_all_that_makes_them():
    options = {"teacher": "vanilla", "sampler": "euler", "count": 100, "steps": 10, "states": 2}
    assert pairs_name(Pick("teacher_pairs", options)) == "euler-10-100-states2"
    options = {"teacher": "a", "sampler": "heun", "count": 9, "steps": 4, "inverted": 5}
    assert pairs_name(Pick("teacher_pairs", options | {"slerp": 0.1})) == "heun-4-9-inverted5"
    options = {"teacher": "other", "sampler": "rk45", "count": 100}
    assert pairs_name(Pick("teacher_pairs", options)) == "rk45-100"


def test_pairs_and_potentials_are_made_as_the_runs_say_that_need_them(look):
    wildcards = Wildcards(dataset="digits", teacher="vanilla", seed="1", pairs="rk45-8192")
    sampler = {"name": "rk45", "options": {}}
    expected = {"sampler": sampler, "steps": 0, "count": 8192, "states": 0, "inverted": 0}
    assert look.pairs_settings(wildcards) == expected
    assert look.teacher_settings(wildcards) == look.settings(run("digits", "vanilla", 1))
    found = look.potentials_settings(
        Wildcards(dataset="digits", potentials="semidiscrete-covariance")
    )
    assert found == look.config.potentials.plain() | {"metric": "covariance"}
    datasets = read_yaml(ROOT / "config/config.yaml")["datasets"]
    own = {"steps": 9, "batch_size": 8, "learning_rate": 0.5, "seed": 1, "largest_unevenness": 3}
    datasets["digits"]["potentials"] = own
    asked = Wildcards(dataset="digits", potentials="semidiscrete")
    assert look_up(datasets=datasets).potentials_settings(asked) == own


@pytest.mark.parametrize(
    ("method", "wildcards", "message"),
    [
        ("settings", run("digits", "vanilla", 9), "declares the seeds"),
        ("settings", run("digits", "x"), "digits has no run 'x'"),
        ("potentials_settings", Wildcards(dataset="digits", potentials="x"), "no run needs"),
        (
            "pairs_settings",
            Wildcards(dataset="digits", teacher="vanilla", seed="4", pairs="rk45-8192"),
            "digits vanilla, seed 4: no run is taught by its pairs 'rk45-8192'",
        ),
        ("conditions", Wildcards(comparison="x"), "unknown comparison 'x'"),
        ("claims", Wildcards(comparison="mnist16_couplings"), "none is about the runs of"),
        ("loss_models", Wildcards(dataset="church"), "church: no run"),
        ("draw_inputs", Wildcards(dataset="ffhq"), "no entry for 'ffhq'"),
        ("figure_tables", Wildcards(figure="best_of_k", subject="_digits"), "is of no dataset"),
        ("figure_tables", Wildcards(figure="saving", subject=""), "unknown comparison ''"),
        ("checksum", Wildcards(dataset="cifar10", file="x"), "no published file 'x'"),
    ],
)
def test_what_is_not_declared_is_refused(look, method, wildcards, message):
    with pytest.raises(InputError, match=message):
        getattr(look, method)(wildcards)


def test_licence_folder_and_mirrors_are_no_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where there are no images, which would be parameters
    datasets = read_yaml(ROOT / "config/config.yaml")["datasets"]
    moved = {
        name: dataset
        | {"licence": "another"}
        | (
            {"source": dataset["source"] | {"folder": "elsewhere"}}
            if "folder" in dataset["source"]
            else {}
        )
        for name, dataset in datasets.items()
    }
    one, other = look_up(), look_up(datasets=moved, mirrors={"cifar10": ["file:/elsewhere"]})
    for name in one.pixel_datasets:
        wildcards = Wildcards(dataset=name)
        assert one.image_settings(wildcards) == other.image_settings(wildcards)
        assert one.downloads(wildcards) == other.downloads(wildcards)
    file = Wildcards(dataset="cifar10", file="cifar-10-python.tar.gz")
    assert one.checksum(file) == other.checksum(file)


def test_a_reduced_scale_has_standins_where_files_are_missing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    look = look_up(scale="smoke")
    assert look.downloads(Wildcards(dataset="digits")) == []
    assert look.downloads(Wildcards(dataset="cifar10")) == ["results/smoke/standins/cifar10"]
    source = look.source("cifar10")
    assert source.folder == Path("results/smoke/standins/cifar10") and not source.published
    Path("resources/cifar10").mkdir(parents=True)
    Path("resources/cifar10/cifar-10-python.tar.gz").touch()
    assert look.source("cifar10").published
    assert look.downloads(Wildcards(dataset="cifar10"))[0].startswith("resources/downloads/")


def test_weights_are_those_of_the_extractors_asked_for(look):
    assert look.weights(Wildcards(dataset="digits_latent")) == {
        "classifier": "results/classifiers/digits"
    }
    bedroom = Wildcards(dataset="bedroom")
    inception = "results/inception/inception-2015-12-05.pt"
    assert look.weights(bedroom) == {"inception": inception}
    assert look.references(bedroom) == [
        f"results/features/bedroom_pixels/{part}/{name}.npz"
        for name in look.extractors(bedroom)
        for part in ("training", "held_out")
    ]


def test_only_comparisons_over_inception_have_a_fid(look):
    expected = ["bedroom", "cifar10", "few_steps_bedroom", "few_steps_cifar10"]
    assert sorted(look.with_fid) == expected
    assert sorted(look_up(scale="smoke").with_fid) == expected


def test_a_datasets_claims_are_judged_by_its_own_comparison(look):
    own = look.claim_inputs(Wildcards(comparison="digits"))
    assert {"paths", "crossings", "matching_share", "reproducibility"} <= set(own)
    other = look.claim_inputs(Wildcards(comparison="digits_couplings"))
    assert other == {
        "summary": "results/summary_digits_couplings.csv",
        "speed": "results/speed_digits_couplings.csv",
    }


def test_a_figure_takes_the_tables_that_its_notebook_names(look):
    def tables(comparison):
        return look.figure_tables(Wildcards(figure="comparison", subject=f"_{comparison}"))

    assert tables("digits_demo")["distances"] == "results/distances_digits_demo.csv"
    # What couplings do to the noise is measured of those of one comparison.
    assert tables("digits_couplings")["marginals"] == "results/coupling_marginals.csv"
    assert "marginals" not in tables("digits_demo")
    grid = Wildcards(figure="sample_grid", subject="_digits")
    runs = look.config.comparison("digits").runs
    assert [shown["run"] for shown in look.figure_runs(grid)] == runs
    folder = "results/runs/digits"
    assert look.figure_samples(grid)[0] == f"{folder}/{runs[0]}/seed0/samples.npz"
    assert look.figure_samples(Wildcards(figure="saving", subject="_digits")) == []


def test_targets_ask_for_what_results_are_made_from(look):
    files = set(look.all_results())
    for name in (
        "pairs/digits/vanilla/seed0/rk45-8192",
        "potentials/digits/semidiscrete.npz",
        "runs/digits/reflow/seed1/samples.npz",
        "data/bedroom_pixels",
        "classifiers/mnist16",
        "autoencoders/stable_diffusion_2_1",
        "noise_sample_pairs/church.npz",
        "fid_cifar10.csv",
        "figures/matching_cost.pdf",
    ):
        assert f"results/{name}" in files
    assert set(look.reported_results(None)) < files and set(look.target_results("digits")) < files
    archived = look_up(**{"from": "reference"}).all_results()
    assert not any("/runs/" in name or "/data/" in name for name in archived)


def test_what_needs_images_of_ones_own_is_made_by_its_name_only(look):
    files = [*look.all_results(), *look.staged()]
    assert not [name for name in files if "cifar10_small" in name]
    small = look.config.comparison("cifar10_small")
    assert "results/claims_cifar10_small.csv" in look.tables_of_comparison(small)
    comparisons = read_yaml(ROOT / "config/config.yaml")["comparisons"]
    comparisons["cifar10_small"] = {"in_all": True}
    asked = look_up(comparisons=comparisons).all_results()
    assert {"results/data/cifar10_small", "results/summary_cifar10_small.csv"} <= {*asked}


PAINTER = Wildcards(dataset="stable_diffusion")


def test_a_pipelines_pairs_are_in_place_of_a_datasets_samples(look):
    store = {"pairs": "results/pairs/stable_diffusion"}
    assert look.draw_inputs(PAINTER) == store
    settings = look.pipeline_settings(PAINTER)
    assert settings == {"steps": 50, "guidance_scale": 7.5, "batch_size": 4, "count": 100}
    assert look.pipeline_published(PAINTER)["name"].endswith("/stable-diffusion-v1-5")
    figure = Wildcards(figure="noise_sample_tsne", subject="_stable_diffusion")
    assert look.figure_tables(figure)["crossings"] == "results/crossings_stable_diffusion.csv"
    files = set(look.all_results())
    for name in ("pipelines/stable_diffusion", "pairs/stable_diffusion"):
        assert f"results/{name}" in files
    assert "results/figures/noise_sample_tsne_stable_diffusion.png" in files
    assert "results/loss_over_time_stable_diffusion.csv" not in files
    assert "results/pipelines/stable_diffusion" in look.staged()
    assert (look.pipeline_gpus(PAINTER), look_up(scale="smoke").pipeline_gpus(PAINTER)) == (1, 0)
    with pytest.raises(InputError, match=r"noise_sample_pairs\.digits: no pipeline makes them"):
        look.pipeline_shape(Wildcards(dataset="digits"))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "prompts.txt: expected a text file of prompts, found [Errno 2] No such file"),
        (b"\xff\xfe", "prompts.txt: expected a text file of prompts, found 'utf-8' codec"),
        (b"# none\na pear\n\n a bird \n", "at least 3 prompts, a line each and none twice, as"),
        (b"a pear\na bird\na pear\na lake\n", "found 4, of which 3 differ"),
        (b"# three\na pear\n\n a bird \na lake # not a comment\n", None),
    ],
)
def test_prompts_are_read_before_anything_runs(tmp_path, content, expected):
    path = tmp_path / "prompts.txt"
    if content is not None:
        path.write_bytes(content)
    pairs = read_yaml(ROOT / "config/config.yaml")["noise_sample_pairs"]
    changes = {"count": 3, "pairs": 3, "perplexity": 2, "batch_sizes": [2]}
    pairs["stable_diffusion"] |= changes
    pairs["stable_diffusion"]["pipeline"]["prompts"] = str(path)
    look = look_up(noise_sample_pairs=pairs)
    if expected is None:
        assert look.prompts(PAINTER) == ["a pear", "a bird", "a lake # not a comment"]
    else:
        with pytest.raises(InputError, match=re.escape(expected)):
            look.prompts(PAINTER)


def test_a_pipeline_without_a_commit_is_refused_before_anything_runs():
    pairs = read_yaml(ROOT / "config/config.yaml")["noise_sample_pairs"]
    del pairs["stable_diffusion"]["pipeline"]["revision"]
    with pytest.raises(InputError, match="expected a folder, or the revision of the hub's"):
        look_up(noise_sample_pairs=pairs).pipeline_published(PAINTER)


def test_what_is_made_of_comparisons_of_one_run_says_nothing_of_others():
    alone = {"dataset": "digits", "runs": ["vanilla"], "seeds": [0]}
    comparisons = read_yaml(ROOT / "config/config.yaml")["comparisons"] | {"digits": alone}
    look = look_up(comparisons=comparisons, targets={"demo": ["digits"]}, report=["digits"])
    tables = look.tables_of_comparison(look.config.comparison("digits"))
    expected = [f"results/{name}_digits.csv" for name in ("distances", "summary", "memorising")]
    if look.config.claims_of("digits"):
        expected.append("results/claims_digits.csv")
    assert tables == expected
    figures = [name for name in look.target_results("demo") if "/figures/saving_" in name]
    assert figures == []


def test_what_is_remembered_is_measured_where_images_are_held_out(look):
    datasets = read_yaml(ROOT / "config/config.yaml")["datasets"]
    for name in ("mnist16", "bedroom_pixels"):
        datasets[name].pop("held_out", None)
    classifiers = {k: v for k, v in look.config.classifiers.items() if k != "mnist16"}
    datasets["mnist16"]["features"] = ["inception_clean"]
    classifiers = {name: one.plain() for name, one in classifiers.items()}
    without = look_up(datasets=datasets, classifiers=classifiers)
    assert {"digits", "digits_latent", "mnist16", "bedroom"} <= {*look.with_memorising}
    assert {"digits", "digits_latent"} <= {*without.with_memorising}
    assert not {"mnist16", "mnist16_couplings", "bedroom"} & {*without.with_memorising}
    for name in ("mnist16", "bedroom"):
        said = {claim.name for claim in look.config.claims_of(name)}
        assert "greedy_remembers_no_more" in said
        rest = {claim.name for claim in without.config.claims_of(name)}
        assert rest == said - {n for n in said if n.endswith("_remembers_no_more")}
        real = look.real_tables(Wildcards(comparison=name))
        beside = {*real} - {*without.real_tables(Wildcards(comparison=name))}
        pixels = look.config.pixels(name)
        assert f"results/features/{pixels}/held_out.csv" in beside
        files = {*look.all_results()} - {*without.all_results()}
        assert f"results/memorising_{name}.csv" in files
        assert f"results/figures/memorising_{name}.png" in files


def test_the_floor_is_of_the_other_part_and_of_as_many_images_as_runs_generate(look):
    for part, other in (("training", "held_out"), ("held_out", "data")):
        wildcards = Wildcards(dataset="digits", part=part)
        assert look.other_store(wildcards) == f"results/{other}/digits"
        assert look.images_of_runs(wildcards) == 1000
    assert look.other_store(Wildcards(dataset="church_pixels", part="training")) == []
    assert look.images_of_runs(Wildcards(dataset="church_pixels", part="training")) is None


def test_hardware_is_that_of_the_recipe(look):
    resources = look.resources(look.run)
    wildcards = run("cifar10", "vanilla", 20241115)
    found = {name: value(wildcards) for name, value in resources.items()}
    assert (found["gpu"], found["mem_mb"], found["runtime"]) == (1, 32_000, 2880)
    assert look.timed_threads(Wildcards(dataset="digits")) == 2


def test_a_target_makes_a_dataset_s_own_results_with_its_own_comparison_only(look):
    demo = {*look.target_results("demo")}
    for name in ("path_geometry_digits", "noise_sample_tsne_digits", "saving_digits_demo"):
        assert f"results/figures/{name}.png" in demo
    assert {"results/paths_digits.csv", "results/crossings_digits.csv"} <= demo
    of_dataset = {
        *look.tables_of_dataset("digits"),
        "results/coupling_marginals.csv",
        "results/best_of_k.csv",
        "results/figures/nearest_share_digits.png",
    }
    assert of_dataset <= {*look.target_results("digits")}
    assert not {"results/loss_over_time_digits.csv", "results/best_of_k.csv"} & demo
    assert "results/coupling_marginals.csv" not in demo
    # Pairs are drawn where something is made of them.
    pairs = "results/noise_sample_pairs/digits.npz"
    made = {name: pairs in look.target_results(name) for name in look.config.targets}
    assert made == {"demo": True, "digits": True, "few_steps": False}


@pytest.mark.parametrize("name", ["no_such_figure", "best_of_k"])
def test_a_comparison_with_a_figure_that_is_neither_of_it_nor_of_its_dataset_is_refused(name):
    comparisons = read_yaml(ROOT / "config/config.yaml")["comparisons"]
    changed = comparisons | {"digits_demo": comparisons["digits_demo"] | {"figures": [name]}}
    message = f"comparisons.digits_demo.figures: unknown '{name}'; expected some of ['claims', "
    with pytest.raises(InputError, match=re.escape(message)):
        look_up(comparisons=changed)


@pytest.mark.parametrize("process", ["rectified_flow", "diffusion"])
def test_a_run_may_begin_with_a_folder_of_diffusers(tmp_path, process):
    content = read_yaml(ROOT / "config/config.yaml")
    recipe = next(r["recipe"] for r in content["runs"] if r["dataset"] == "digits")
    one = {"dataset": "digits", "name": "begun", "recipe": recipe, "process": process}
    one |= {"seeds": [0], "start": {"folder": str(tmp_path / "there" / "model")}}
    look = look_up(runs=[*content["runs"], one])
    begun = run("digits", "begun")
    # Where it lies says nothing of what the run is.
    assert look.settings(begun)["start"] == {"folder": "model"}
    folder = tmp_path / "there" / "model"
    with pytest.raises(InputError, match=f"^{folder}: expected a diffusers folder, found no conf"):
        look.training_inputs(begun)
    network = look.config.networks[look.config.recipes[recipe].network]
    kind = {"rectified_flow": "FlowMatchEulerDiscreteScheduler", "diffusion": "DDPMScheduler"}
    flow = process == "rectified_flow"
    write_json(folder / "config.json", {"_class_name": "UNet2DModel"} | network.unet((1, 8, 8)))
    write_json(
        folder / "scheduler_config.json",
        {"_class_name": kind[process], "num_train_timesteps": 999 if flow else 1000},
    )
    (folder / "diffusion_pytorch_model.safetensors").touch()
    weights = f"{folder}/diffusion_pytorch_model.safetensors"
    assert look.training_inputs(begun) == {"start": weights}
    write_json(folder / "config.json", {"_class_name": "UNet2DModel"} | network.unet((3, 8, 8)))
    with pytest.raises(InputError, match=r"config\.json: \w+_channels: expected 1, found 3"):
        look.training_inputs(begun)
