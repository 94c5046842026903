"""What a target costs: every figure recomputed by hand for a small configuration."""

import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from dansm.config import parse_config
from dansm.errors import InputError
from dansm.metrics.evaluation import GRID_IMAGES
from dansm.models.autoencoders import autoencoder_skeleton
from dansm.models.networks import make_network
from dansm.workflow import planning
from dansm.workflow.dry_run import Job
from dansm.workflow.planning import (
    CPU,
    Rates,
    Work,
    autoencoder_flops,
    load_of,
    make_plan,
    network_size,
    pipeline_flops,
)
from dansm.workflow.run_lookups import RunLookups

INCEPTION_FLOPS = 11.4e9

RUN = {"run": "matched", "seed": "1"}


def dump(config):
    return config.model_dump(mode="json", by_alias=True)


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A configuration in a folder of its own, where nothing has been made."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "no cache"))
    recipe = {
        "network": "net",
        "batch_size": 100,
        "learning_rate": 1e-4,
        "ema_decay": 0.999,
        "gradient_clip": 1.0,
        "mixed_precision": "no",
        "budget_images": 1050,
        "snapshots": 4,
        "sampling": {
            "each_snapshot": {"euler": [3]},
            "final": {"euler": [3, 5], "heun": [2]},
            "n_samples": 50,
            "batch_size": 25,
            "image_sets": 2,
        },
        "hardware": {"threads": 4, "mem_mb": 1000, "runtime": 10, "gpu": 2},
    }
    one = {"process": "rectified_flow", "recipe": "flow", "seeds": [1]}
    matched = {"matched": {"coupling": {"greedy": {"match_size": 10}}}}
    runs = [
        {"dataset": "rooms", **one, "grid": {**matched, "vanilla": None}},
        {"dataset": "room_latents", **one, "grid": matched},
    ]
    images = {"licence": "none", "features": ["inception_clean", "inception_legacy_tensorflow"]}
    lsun = {"kind": "lsun", "folder": "lsun", "category": "bedroom_train", "count": 600}
    return parse_config(
        {
            "datasets": {
                "rooms": {"source": lsun, "shape": [3, 16, 16], **images},
                "room_latents": {
                    "source": {
                        "kind": "latents",
                        "of": "rooms",
                        "autoencoder": "vae",
                        "posterior": "sample",
                    },
                    "shape": [4, 2, 2],
                    "horizontal_flips": True,
                    **images,
                },
                "digits": {
                    "source": {"kind": "sklearn_digits"},
                    "shape": [1, 8, 8],
                    "licence": "none",
                    "held_out": {"share": 0.332},
                    "features": ["classifier"],
                },
                "digit_latents": {
                    "source": {"kind": "latents", "of": "digits", "autoencoder": "kl"},
                    "shape": [2, 4, 4],
                    "licence": "none",
                },
            },
            "autoencoders": {
                "vae": {"kind": "pretrained", "name": "somebody/vae"},
                "kl": {
                    "kind": "trained",
                    "dataset": "digits",
                    "channels": [4, 8],
                    "latent_channels": 2,
                    "budget_images": 5000,
                    "batch_size": 50,
                    "learning_rate": 1e-3,
                    "kl_weight": 1e-6,
                    "seed": 0,
                },
            },
            "classifiers": {
                "digits": {
                    "channels": 16,
                    "features": 64,
                    "epochs": 20,
                    "batch_size": 64,
                    "learning_rate": 1e-3,
                    "seed": 0,
                }
            },
            "potentials": {"steps": 7, "batch_size": 8, "learning_rate": 1.0, "seed": 0},
            "networks": {
                "net": {
                    "channels": [8, 16],
                    "layers_per_block": 1,
                    "attention_at": [],
                    "dropout": 0.0,
                    "norm_groups": 4,
                }
            },
            "recipes": {"flow": recipe},
            "samplers": {"euler": "euler", "heun": "heun", "rk45": "rk45"},
            "runs": runs,
            "coupling_marginals": {
                "comparison": "rooms",
                "count": 100,
                "batch_size": 10,
                "seed": 0,
            },
            "matching_cost": {
                "match_sizes": [10],
                "dimensions": [4],
                "batch_sizes": [5],
                "seconds": 1,
                "repetitions": 1,
                "limit_seconds": 1,
                "memory_mb": 100,
                "threads": 1,
                "seed": 0,
            },
            "matching_share": {
                "match_sizes": [10, 100],
                "rounds": 3,
                "steps": 2,
                "memory_mb": 100,
                "seed": 0,
            },
            "best_of_k": {"dimensions": [4], "counts": [1, 10], "draws": 5, "seed": 0},
            "noise_sample_pairs": {
                name: {
                    "count": 30,
                    "draws": 2,
                    "match_sizes": [5, 20],
                    "batch_sizes": [10],
                    "pairs": 4,
                    "perplexity": 3,
                    "embeddings": 6,
                    "seed": 0,
                }
                for name in ("rooms", "digits")
            },
            "targets": {"demo": ["rooms"]},
        }
    )


def operations(model, *inputs):
    """Multiply-add pairs count as two: recomputed from the layers' shapes as they run."""
    total = 0

    def hook(layer, arguments, output):
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            window = math.prod(layer.kernel_size) * layer.in_channels
            total += 2 * window * output.numel()
        else:
            total += 2 * layer.in_features * output.numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(hook)
    with torch.no_grad():
        model(*inputs)
    return total


@pytest.mark.parametrize("dataset", ["rooms", "room_latents"])
def test_a_networks_size_is_that_of_its_layers(config, dataset):
    settings = config.run_settings(config.run(dataset, "matched"), 1)
    network = make_network(settings.network, settings.shape)
    flops, parameters = network_size(settings.network, settings.shape)
    assert flops == operations(network, torch.zeros(1, *settings.shape), torch.zeros(1))
    assert parameters == sum(weights.numel() for weights in network.parameters())


def test_an_autoencoders_size_is_that_of_its_layers(config, tmp_path):
    shapes = ((1, 8, 8), (2, 4, 4))
    found = autoencoder_flops(config.autoencoders["kl"], shapes, tmp_path / "none")
    model = autoencoder_skeleton(config.autoencoders["kl"], shapes, tmp_path / "none").model
    model = model.to_empty(device="cpu")
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    both = operations(model, torch.zeros(1, 1, 8, 8))
    assert sum(found) == both and min(found) > 0


def test_training_is_three_passes_over_the_images_and_weights_for_each_snapshot(config):
    load = load_of(RunLookups(config), Job("train_model", {"dataset": "rooms", **RUN}, 4, 2))
    flops, parameters = network_size(config.networks["net"], (3, 16, 16))
    (work,) = load.work
    # 1 050 images are 11 batches of 100.
    assert (work.kind, work.images, work.flops) == ("train", 1100, 3 * flops)
    assert load.disk == 4 * parameters * 4 and load.download == 0


def test_evaluation_counts_every_evaluation_decoding_and_feature(config):
    load = load_of(
        RunLookups(config), Job("evaluate_run", {"dataset": "room_latents", **RUN}, 4, 2)
    )
    flops, _ = network_size(config.networks["net"], (4, 2, 2))
    shapes = ((3, 16, 16), (4, 2, 2))
    _, decoding = autoencoder_flops(config.autoencoders["vae"], shapes, Path("none"))
    # Three snapshots with Euler 3; the last, for two ranges of seeds, Euler 3 and 5 and Heun 2,
    # which evaluates twice a step. The grids of the last, here all 50 images, come from those.
    sets, in_grid = 3 + 2 * 3, min(GRID_IMAGES, 50)
    evaluations = 3 * 3 + 2 * (3 + 5 + 4)
    network, decoder, *features = load.work
    assert network.images == 50 * evaluations
    assert network.flops == flops
    assert (decoder.images, decoder.flops) == (50 * sets, decoding)
    assert [(f.flops, f.images) for f in features] == [(INCEPTION_FLOPS, 50 * sets)] * 2
    assert load.disk == in_grid * 3 * 3 * 16 * 16
    # Of both extractors: the Fréchet distance of three sets, all metrics of the last six.
    assert load.seconds == 2 * (3 * 4 + 6 * 40)


def test_the_share_of_matching_takes_the_training_steps_of_all_its_turns(config):
    load = load_of(RunLookups(config), Job("measure_matching_share", {"dataset": "rooms"}, 4, 1))
    flops, _ = network_size(config.networks["net"], (3, 16, 16))
    (work,) = load.work
    # To warm up, and in 3 rounds vanilla and 2 match sizes: 2 steps, and as many before them.
    steps = (1 + 3 * (1 + 2)) * 2 * 2
    assert (work.kind, work.images, work.flops) == ("train", 100 * steps, 3 * flops)


def test_latents_are_stored_for_all_that_is_asked(config):
    load = load_of(RunLookups(config), Job("encode_latents", {"dataset": "room_latents"}, 1, 1))
    (work,) = load.work
    assert work.images == 2 * 600  # the mirrored images too
    assert load.disk == 600 * (4 * 2 * 2) * 2 * (2 * 2)  # half precision, with deviations


def test_downloads_and_data_sets_take_their_bytes(config, tmp_path):
    job = Job("download", {"dataset": "rooms", "file": "bedroom_train_lmdb.zip"}, 1, 0)
    build = Job("build_dataset", {"dataset": "rooms"}, 1, 0)
    download = load_of(RunLookups(config), job).download
    assert 45e9 < download < 46e9  # LSUN publishes the whole category only
    assert load_of(RunLookups(config), job).disk == download
    # The zip is unpacked beside itself.
    assert load_of(RunLookups(config), build).disk == 600 * 3 * 16 * 16 + download
    lmdb = tmp_path / "lsun" / "bedroom_train_lmdb"
    lmdb.mkdir(parents=True)
    (lmdb / "data.mdb").touch()
    assert load_of(RunLookups(config), job).download == load_of(RunLookups(config), job).disk == 0
    assert load_of(RunLookups(config), build).disk == 600 * 3 * 16 * 16
    digits = load_of(RunLookups(config), Job("build_dataset", {"dataset": "digits"}, 1, 0))
    assert digits.disk == 1200 * 64 and digits.download == 0


def test_a_finished_data_set_knows_how_many_images_it_has(config, tmp_path):
    meta = tmp_path / "results" / "data" / "rooms" / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"count": 77}))
    load = load_of(RunLookups(config), Job("encode_latents", {"dataset": "room_latents"}, 1, 1))
    assert load.work[0].images == 2 * 77


def test_a_reduced_scale_makes_do_with_standins(config):
    bounds = ("batch_size", "batches", "channels", "layers_per_block", "snapshots")
    bounds += ("n_samples", "image_sets", "images", "draws", "pairs", "epochs", "seeds")
    scales = {"smoke": dict.fromkeys(bounds, 4)}
    smoke = parse_config(dump(config) | {"scales": scales, "scale": "smoke"})
    job = Job("encode_latents", {"dataset": "room_latents"}, 1, 0)
    small, large = (load_of(RunLookups(c), job).work[0] for c in (smoke, config))
    assert small.images == 2 * 4 and small.flops < large.flops / 100
    evaluation = load_of(RunLookups(smoke), Job("evaluate_run", {"dataset": "rooms", **RUN}, 1, 0))
    assert [work for work in evaluation.work if work.flops == INCEPTION_FLOPS] == []
    build = load_of(RunLookups(smoke), Job("build_dataset", {"dataset": "rooms"}, 1, 0))
    assert build.disk == 4 * 3 * 16 * 16
    assert (
        load_of(RunLookups(smoke), Job("make_smoke_dataset", {"dataset": "rooms"}, 1, 0)).disk == 0
    )


def test_weights_are_downloaded_unless_they_are_here(config, tmp_path):
    job = Job("fetch_autoencoder", {"autoencoder": "vae"}, 1, 0)
    assert load_of(RunLookups(config), job).download == load_of(RunLookups(config), job).disk > 3e8
    (tmp_path / "somebody" / "vae").mkdir(parents=True)
    assert (
        load_of(RunLookups(config), job).download == 0
        and load_of(RunLookups(config), job).disk > 3e8
    )
    job = Job("fetch_inception", {}, 1, 0)
    assert (
        load_of(RunLookups(config), job).download
        == load_of(RunLookups(config), job).disk
        == 95_628_359
    )
    named = parse_config(dump(config) | {"inception_weights": "folder"})
    assert load_of(RunLookups(named), job).download == 0
    (tmp_path / "no cache" / "clean-fid").mkdir(parents=True)
    (tmp_path / "no cache" / "clean-fid" / "inception-2015-12-05.pt").touch()
    assert (
        load_of(RunLookups(config), job).download == 0
        and load_of(RunLookups(config), job).disk == 95_628_359
    )


def test_the_autoencoder_trained_here_sees_its_budget(config):
    load = load_of(RunLookups(config), Job("train_autoencoder", {"autoencoder": "kl"}, 1, 0))
    (work,) = load.work
    both = autoencoder_flops(config.autoencoders["kl"], ((1, 8, 8), (2, 4, 4)), Path("x"))
    assert (work.kind, work.images, work.flops) == ("train", 5000, 3 * sum(both))


def test_references_reconstructions_and_potentials(config):
    reference = load_of(
        RunLookups(config),
        Job(
            "compute_reference",
            {"dataset": "rooms", "part": "training", "extractor": "inception_clean"},
            1,
            1,
        ),
    )
    assert [(w.flops, w.images) for w in reference.work] == [(INCEPTION_FLOPS, 600)]
    # All 600 images' features are kept, in single precision, with their covariance in double.
    assert reference.disk == 600 * 2048 * 4 + 2048 * 2048 * 8 and reference.seconds == 5 * 40
    digits = {"dataset": "digits", "part": "training", "extractor": "classifier"}
    assert load_of(RunLookups(config), Job("compute_reference", digits, 1, 0)) == planning.Load()
    latents = {"dataset": "room_latents", "extractor": "inception_clean"}
    works = load_of(RunLookups(config), Job("measure_reconstruction", latents, 1, 1)).work
    shapes = ((3, 16, 16), (4, 2, 2))
    _, decoding = autoencoder_flops(config.autoencoders["vae"], shapes, Path("none"))
    expected = [(decoding, 600), (INCEPTION_FLOPS, 600)]
    assert [(w.flops, w.images) for w in works] == expected
    (fit,) = load_of(RunLookups(config), Job("fit_potentials", {"dataset": "digits"}, 1, 0)).work
    assert fit.images * fit.flops == 7 * 8 * 2 * 1200 * 64  # a matrix product a step


def test_pairs_are_generated_where_there_is_a_model_and_stored_elsewhere(config):
    jobs = [Job(r, {"dataset": "rooms"}, 1, 0) for r in ("draw_pairs", "measure_loss_over_time")]
    draw, _ = (load_of(RunLookups(config), job) for job in jobs)
    assert draw == planning.Load(disk=4 * 60 * 3 * 16 * 16)
    content = dump(config)
    content["noise_sample_pairs"]["rooms"] |= {"run": "vanilla", "matched_run": "matched"}
    draw, loss = (load_of(RunLookups(parse_config(content)), job) for job in jobs)
    flops, _ = network_size(config.networks["net"], (3, 16, 16))
    (work,) = draw.work
    assert work == Work("evaluate", 60 * 100, flops)
    assert [work.images for work in loss.work] == [30 * (100 + 10 * 3)] * 2


def test_a_teachers_pairs_take_its_evaluations_and_their_bytes(config):
    content = dump(config)
    taught = {"teacher_pairs": {"teacher": "vanilla", "sampler": "heun", "steps": 4, "count": 170}}
    student = content["runs"][0] | {"name": "student", "coupling": taught}
    look = RunLookups(parse_config(content | {"runs": [*content["runs"], student]}))
    wildcards = {"dataset": "rooms", "teacher": "vanilla", "seed": "1", "pairs": "heun-4-170"}
    load = load_of(look, Job("make_pairs", wildcards, 1, 0))
    flops, _ = network_size(config.networks["net"], (3, 16, 16))
    assert load.work == (Work("evaluate", 170 * 8, flops),)
    assert load.disk == 170 * 2 * 4 * 3 * 16 * 16


def test_a_pipelines_pairs_take_two_evaluations_a_step_with_guidance(config, tmp_path):
    content, works = dump(config), []
    for guidance in (1.0, 7.5):
        pipeline = {"name": str(tmp_path), "prompts": "prompts.txt", "steps": 5}
        pipeline |= {"guidance_scale": guidance, "shape": [4, 8, 8], "licence": "none"}
        pairs = content["noise_sample_pairs"]["rooms"] | {"pipeline": pipeline}
        look = RunLookups(parse_config(content | {"noise_sample_pairs": {"painter": pairs}}))
        load = load_of(look, Job("make_pipeline_pairs", {"dataset": "painter"}, 1, 1))
        works += load.work
        assert load.disk == 60 * 2 * 4 * 4 * 8 * 8
        # A folder is copied, not downloaded.
        fetched = load_of(look, Job("fetch_pipeline", {"dataset": "painter"}, 1, 0))
        assert fetched.disk > 0 and fetched.download == 0
    assert [work.images for work in works] == [60 * 5, 60 * 5 * 2]
    # Published for Stable Diffusion 1 at 64×64 latents: about 0.8 TFLOP an evaluation.
    assert pipeline_flops(tmp_path, (4, 64, 64), small=False) == pytest.approx(0.8e12, rel=0.05)


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work("train", 1000, 1e6), 2),  # as measured
        (Work("train", 1000, 5e6), 10),  # five times as much at the same 5e8 FLOP/s
        (Work("train", 1000, 2e9), 200),  # nearer to the large one, 1e10 FLOP/s
        (Work("evaluate", 1000, 1e6 / 3), 1000 * 1e6 / 3 / 5e8),  # the same network
        (Work("evaluate", 0, 4e5), 0),
    ],
)
def test_work_takes_as_long_as_in_the_training_of_the_network_nearest_in_size(work, seconds):
    rates = Rates(CPU, [(1e6, 5e8), (1e9, 1e10)])
    assert rates.seconds(work) == pytest.approx(seconds)
    assert "2 finished trainings" in rates.basis


def test_a_gpu_evaluates_as_much_slower_as_by_its_peaks():
    rates = Rates("NVIDIA A100-SXM4", [(3e6, 62.4e12)])  # twice what is assumed
    assert rates.seconds(Work("evaluate", 10, 1e12)) == pytest.approx(1e13 / 31.2e12)


@pytest.mark.parametrize(
    ("device", "train", "evaluate"),
    [
        ("NVIDIA A100-SXM4-80GB", 31.2e12, 15.6e12),  # a tenth of the peaks
        ("NVIDIA Unheard Of", 31.2e12, 15.6e12),
        ("NVIDIA H100 80GB HBM3", 98.9e12, 49.5e12),
        (CPU, 50e9, 50e9),
    ],
)
def test_an_unmeasured_device_works_at_a_share_of_its_peak(device, train, evaluate):
    rates = Rates(device, [])
    assert rates.seconds(Work("train", 10, 1e12)) == pytest.approx(1e13 / train)
    assert rates.seconds(Work("evaluate", 10, 1e12)) == pytest.approx(1e13 / evaluate)
    assert f"{device}, not measured: {train / 1e12:.3g} and {evaluate / 1e12:.3g}" in rates.basis


def write_finished(device, settings, seconds, processes=1):
    """Write what a finished run tells of itself."""
    run = {"settings": settings.plain(), "seconds": seconds, "processes": processes}
    path = Path("results/runs") / settings.dataset / "finished" / "seed1" / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(run | {"hardware": {"device": device}}))


def test_a_plan_adds_up(config, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    _, parameters = network_size(config.networks["net"], (3, 16, 16))
    # 1 100 images at 11 a second and GPU.
    settings = config.run_settings(config.run("rooms", "matched"), 1)
    write_finished("NVIDIA Toy", settings, seconds=1100 / 22, processes=2)
    job = Job("train_model", {"dataset": "rooms", **RUN}, 4, 2)
    jobs = [
        job,
        Job("fetch_inception", {}, 1, 0),
        job,
        Job("build_dataset", {"dataset": "digits"}, 3, 0),
        Job("something_new", {}, 2, 0),
        Job("all", {}, 1, 0),
    ]
    plan = make_plan(config, jobs)
    rows = plan.jobs.set_index(["rule", "subject"])
    assert list(rows.index) == [
        ("build_dataset", "digits"),
        ("fetch_inception", ""),
        ("train_model", "rooms"),
        ("something_new", ""),
        ("all", ""),
    ]
    assert rows["jobs"].tolist() == [1, 1, 2, 1, 1]
    # 1 100 images at 11 a second and GPU, on two GPUs; 16 bytes a weight at 300 MB/s; 6 s to start.
    seconds = 1100 / 11 / 2 + 16 * parameters / 300e6 + 6
    trained = rows.loc["train_model", "rooms"]
    assert trained["gpu_hours"] == pytest.approx(2 * 2 * seconds / 3600)
    assert trained["cpu_hours"] == pytest.approx(2 * 4 * seconds / 3600)
    assert trained["disk"] == 2 * 16 * parameters
    digits = rows.loc["build_dataset", "digits"]
    expected = 3 * (6 + 1200 * 64 * 4e-8 + 1200 * 64 / 300e6) / 3600
    assert digits["gpu_hours"] == 0 and digits["cpu_hours"] == pytest.approx(expected)
    assert rows["download"].tolist() == [0, 95_628_359, 0, 0, 0]
    assert rows.loc["something_new", ""]["cpu_hours"] == pytest.approx(2 * 6 / 3600)
    assert rows.loc["all", ""]["cpu_hours"] == 0
    text = plan.text()
    total = text.splitlines()[1 + len(rows) + 1].split()
    assert total[:2] == ["total", "6"] and total[-2:] == ["95.6", "MB"]
    assert f"{rows['gpu_hours'].sum():.2g}" in total
    assert "NVIDIA Toy: 1 finished trainings on it" in text


def test_tables_and_figures_of_a_dataset_share_a_line(config, tmp_path):
    made = [("collect_distances", "comparison", ""), ("draw_figure", "subject", "_")]
    jobs = [
        Job(rule, {key: prefix + name}, 1, 0)
        for name in ("digits", "rooms")
        for rule, key, prefix in made
    ]
    plan = make_plan(config, jobs)
    lines = [re.split(r"  +", line.strip())[:3] for line in plan.text().splitlines()[1:3]]
    assert lines == [["tables, figures", "digits", "2"], ["tables, figures", "rooms", "2"]]
    every = [line.split()[:3] for line in plan.text(every_rule=True).splitlines()[1:5]]
    assert every == [[rule, name, "1"] for rule, *_ in made for name in ("digits", "rooms")]


@pytest.mark.parametrize(
    ("asked", "there", "scale", "expected"),
    [
        (None, None, None, "NVIDIA A100"),
        (None, "NVIDIA H200", None, "NVIDIA H200"),
        ("h100", "NVIDIA H200", None, "NVIDIA H100"),
        ("mine", None, None, "My GPU"),
        (None, None, "smoke", None),
        ("v100", None, "smoke", "Tesla V100"),
    ],
)
def test_the_gpu_is_the_one_asked_for_or_there_or_calibrated(
    config, tmp_path, monkeypatch, asked, there, scale, expected
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: there)
    if scale:
        bounds = ("batch_size", "batches", "channels", "layers_per_block", "snapshots")
        bounds += ("n_samples", "image_sets", "images", "draws", "pairs", "epochs", "seeds")
        scales = {"smoke": dict.fromkeys(bounds, 4)}
        config = parse_config(dump(config) | {"scales": scales, "scale": scale})
    if asked == "mine":
        asked = "my gpu"
        write_finished("My GPU", config.run_settings(config.run("rooms", "matched"), 1), 10)
    job = Job("train_model", {"dataset": "rooms", **RUN}, 1, 1)
    plan = make_plan(config, [job], asked)
    assert (plan.jobs["gpu_hours"].item() > 0) == (expected is not None)
    assert plan.basis[-4 if expected else 0].startswith(expected or CPU)


def test_a_gpu_that_trained_is_taken_before_an_assumed_one(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    write_finished("My GPU", config.run_settings(config.run("rooms", "matched"), 1), 10)
    job = Job("train_model", {"dataset": "rooms", **RUN}, 1, 1)
    assert make_plan(config, [job]).basis[1].startswith("My GPU")


def test_an_unknown_gpu_is_refused_with_those_known(config, tmp_path):
    job = Job("train_model", {"dataset": "rooms", **RUN}, 1, 1)
    with pytest.raises(InputError, match=r"GPU 'abacus': expected one of .*NVIDIA A100"):
        make_plan(config, [job], "abacus")
