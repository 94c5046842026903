import json
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from dansm.config import Cluster, Sampling, config_schema, load_config, parse_config
from dansm.errors import InputError

VALID = {
    "datasets": {
        "toy": {
            "source": {"kind": "sklearn_digits"},
            "shape": [1, 8, 8],
            "licence": "none",
            "features": ["digit_classifier"],
        },
        "rooms": {
            "source": {"kind": "lsun", "folder": "x", "category": "bedroom_train", "count": 500},
            "shape": [3, 16, 16],
            "licence": "none",
            "features": ["inception_clean"],
        },
        "toy_latent": {
            "source": {"kind": "latents", "of": "toy", "autoencoder": "kl"},
            "shape": [4, 4, 4],
            "licence": "none",
            "features": ["digit_classifier"],
        },
    },
    "autoencoders": {
        "kl": {
            "kind": "trained",
            "dataset": "toy",
            "channels": [8, 16],
            "latent_channels": 4,
            "budget_images": 5000,
            "batch_size": 50,
            "learning_rate": 1e-3,
            "kl_weight": 1e-6,
            "seed": 0,
        },
        "sd": {"kind": "pretrained", "name": "somebody/sd", "subfolder": "vae"},
    },
    "potentials": {"steps": 100, "batch_size": 8, "learning_rate": 1.0, "seed": 0},
    "classifiers": {
        "toy": {
            "channels": 16,
            "features": 64,
            "epochs": 20,
            "batch_size": 64,
            "learning_rate": 1e-3,
            "held_out": 0.2,
            "seed": 0,
        }
    },
    "networks": {
        "small": {
            "channels": [32, 64],
            "layers_per_block": 2,
            "attention_at": [4],
            "dropout": 0.1,
            "norm_groups": 8,
        }
    },
    "recipes": {
        "flow": {
            "network": "small",
            "batch_size": 100,
            "learning_rate": 1e-4,
            "ema_decay": 0.999,
            "gradient_clip": 1.0,
            "mixed_precision": "no",
            "budget_images": 10050,
            "snapshots": 5,
            "sampling": {
                "every_snapshot": {"euler": [3, 5]},
                "last_snapshot": {"euler": [3, 5, 10], "rk45": []},
                "n_samples": 1000,
                "batch_size": 250,
                "last_seed_ranges": 2,
            },
            "hardware": {"threads": 1, "mem_mb": 1000, "runtime": 10, "gpu": 0},
        }
    },
    "experiments": [
        {
            "dataset": "toy",
            "process": "rectified_flow",
            "coupling": "independent",
            "match_size": 0,
            "seeds": [1, 2, 3],
            "recipe": "flow",
        },
        {
            "dataset": "toy",
            "process": "rectified_flow",
            "coupling": "greedy",
            "match_size": 100,
            "seeds": [1],
            "recipe": "flow",
            "budget_images": 3000,
            "snapshots": 3,
            "n_samples": 400,
            "last_snapshot": {"heun": [7]},
        },
    ],
    "couplings": {"sinkhorn": {"coupling": "minibatch_ot", "method": "sinkhorn"}},
    "coupling_ablations": {
        "all_of_toy": {
            "dataset": "toy",
            "process": "rectified_flow",
            "recipe": "flow",
            "seeds": [1, 4],
            "methods": [
                {"coupling": "independent"},
                {"coupling": "greedy", "match_size": 50},
                {"coupling": "sinkhorn"},
            ],
        }
    },
    "noise_sample_pairs": {
        "toy": {
            "count": 30,
            "draws": 4,
            "batch_sizes": [4, 25],
            "pairs": 5,
            "perplexity": 4,
            "embeddings": 20,
            "seed": 0,
        }
    },
    "best_of_k": {"dimensions": [4, 100], "counts": [1, 10, 1000], "draws": 60, "seed": 0},
    "coupling_marginals": {"dataset": "toy", "count": 500, "batch_size": 50, "seed": 0},
    "matching_cost": {
        "match_sizes": [10, 1000],
        "dimensions": [12, 64],
        "batch_sizes": [1, 200, 400],
        "seconds": 1,
        "repetitions": 9,
        "limit_seconds": 5,
        "memory_mb": 100,
        "threads": 1,
        "seed": 0,
    },
    "matching_share": {
        "match_sizes": [10, 1000],
        "rounds": 5,
        "steps": 9,
        "memory_mb": 100,
        "seed": 0,
    },
    "claims": [
        {
            "name": "better",
            "text": "Matching lowers the distance",
            "source": "ours",
            "measure": {
                "kind": "distance_ratio",
                "process": "rectified_flow",
                "sampler": "euler",
                "steps": 3,
                "method": {"coupling": "greedy", "match_size": 100},
                "than": {"coupling": "independent"},
            },
            "direction": "below",
            "threshold": 1.0,
            "datasets": ["toy"],
        }
    ],
    "demo": ["toy"],
    "demo_couplings": ["all_of_toy"],
    "scales": {
        "smoke": {
            "batch_size": 16,
            "batches": 4,
            "channels": 8,
            "layers_per_block": 1,
            "snapshots": 2,
            "n_samples": 50,
            "images": 20,
            "epochs": 1,
            "seeds": 2,
        }
    },
}
DELETE = object()


def changed(*changes):
    """Return the valid configuration after changes (path, value); a path is dotted."""
    content = deepcopy(VALID)
    for path, value in changes:
        *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        place = content
        for part in parents:
            place = place[part]
        if value is DELETE:
            del place[last]
        elif last == "+":
            place.append(value)
        else:
            place[last] = value
    return content


def problems(content):
    with pytest.raises(InputError) as caught:
        parse_config(content, "my.yaml")
    first, *lines = str(caught.value).splitlines()
    assert first == "my.yaml is not valid:"
    return lines


def row(**changes):
    return VALID["experiments"][0] | changes


def test_the_valid_configuration_is_valid():
    config = parse_config(VALID)
    assert config.datasets["toy"].shape == (1, 8, 8)
    assert config.results == "results" and config.scale is None


ROW = "experiments.0"
_WEIGHED = {"coupling": "minibatch_ot", "method": "exact", "regularisation": 0.1}
WRONG = {
    "unknown key": (
        [("experiments.1.match_sise", 5)],
        ["experiments.1.match_sise: unknown key (value 5)", "'match_size'"],
    ),
    "unknown key at the top": ([("colour", "red")], ["colour", "'red'", "'datasets'"]),
    "unknown key in a scale": (
        [("scales.smoke.step", 3)],
        ["scales.smoke.step: unknown key (value 3)", "'batches'"],
    ),
    "missing key": ([("classifiers.toy.seed", DELETE)], ["classifiers.toy.seed", "Field required"]),
    "negative match size": (
        [("experiments.1.match_size", -3)],
        ["experiments.1.match_size", "greater than or equal to 0", "found -3"],
    ),
    "fractional match size": (
        [("experiments.1.match_size", 2.5)],
        ["experiments.1.match_size", "valid integer", "found 2.5"],
    ),
    "textual match size": (
        [("experiments.1.match_size", "100")],
        ["experiments.1.match_size", "valid integer", "found '100'"],
    ),
    "boolean match size": (
        [("experiments.1.match_size", True)],
        ["experiments.1.match_size", "valid integer", "found True"],
    ),
    "independent with a pool": (
        [(f"{ROW}.match_size", 5)],
        ["experiments[0]", "match_size 5", "independent takes 0"],
    ),
    "greedy without one": (
        [("experiments.1.match_size", 1)],
        ["experiments[1]", "match_size 1", "greedy takes at least 2"],
    ),
    "unknown coupling": (
        [(f"{ROW}.coupling", "hungry")],
        ["experiments[0].coupling: unknown 'hungry'", "'greedy', 'hungarian'", "'sinkhorn'"],
    ),
    "unknown process": (
        [(f"{ROW}.process", "flow")],
        [f"{ROW}.process", "'rectified_flow' or 'diffusion'", "found 'flow'"],
    ),
    "unknown dataset": (
        [(f"{ROW}.dataset", "toys")],
        ["experiments[0].dataset", "'toys'", "['rooms', 'toy', 'toy_latent']"],
    ),
    "unknown recipe": (
        [(f"{ROW}.recipe", "fast")],
        ["experiments[0].recipe", "unknown 'fast'", "['flow']"],
    ),
    "unknown network": (
        [("recipes.flow.network", "big")],
        ["recipes.flow.network", "unknown 'big'", "['small']"],
    ),
    "unknown autoencoder": (
        [("datasets.toy_latent.source.autoencoder", "vq")],
        ["datasets.toy_latent.source.autoencoder", "'vq'", "['kl', 'sd']"],
    ),
    "latents of nothing": (
        [("datasets.toy_latent.source.of", "moon")],
        ["datasets.toy_latent.source.of", "'moon'", "'rooms'"],
    ),
    "latents of latents": (
        [("datasets.toy_latent.source.of", "toy_latent")],
        ["datasets.toy_latent.source.of", "expected a pixel dataset, found latents"],
    ),
    "autoencoder of nothing": (
        [("autoencoders.kl.dataset", "moon")],
        ["autoencoders.kl.dataset", "'moon'", "'toy'"],
    ),
    "classifier of nothing": (
        [("classifiers.moon", VALID["classifiers"]["toy"])],
        ["classifiers", "'moon'", "'toy'"],
    ),
    "no classifier": (
        [("classifiers", {})],
        ["datasets.toy.features: classifiers", "'toy'", "[]"],
    ),
    "demo of nothing": ([("demo", ["moon"])], ["demo", "'moon'", "'toy'"]),
    "unknown scale": ([("scale", "tiny")], ["scale", "'tiny'", "['smoke']"]),
    "unknown archive": ([("from", "elsewhere")], ["from", "'reference'", "'elsewhere'"]),
    "archive at a scale": (
        [("from", "reference"), ("scale", "smoke")],
        ["from: expected no scale beside it", "'smoke'"],
    ),
    "unknown reported dataset": ([("report", ["cats"])], ["report: unknown 'cats'"]),
    "pairs of nothing": (
        [("noise_sample_pairs.moon", VALID["noise_sample_pairs"]["toy"])],
        ["noise_sample_pairs", "'moon'", "'toy'"],
    ),
    "marginals of nothing": (
        [("coupling_marginals.dataset", "moon")],
        ["coupling_marginals.dataset", "'moon'", "'toy'"],
    ),
    "marginals of single samples": (
        [("coupling_marginals.batch_size", 1)],
        ["coupling_marginals.batch_size", "greater than or equal to 2", "found 1"],
    ),
    "a mirror of nothing": (
        [("mirrors", {"moon": ["file:/data"]})],
        ["mirrors: unknown 'moon'; expected one of ['rooms']"],
    ),
    "a mirror of what is not downloaded": (
        [("mirrors", {"toy": ["file:/data"]})],
        ["mirrors: unknown 'toy'; expected one of ['rooms']"],
    ),
    "a mirror that is no address": (
        [("mirrors", {"rooms": ["/data"]})],
        ["mirrors.rooms.0", "match pattern", "found '/data'"],
    ),
    "a checksum that is none": (
        [("datasets.rooms.source.sha256", "abc")],
        ["datasets.rooms.source.lsun.sha256", "match pattern", "found 'abc'"],
    ),
    "perplexity too large": (
        [("noise_sample_pairs.toy.perplexity", 10)],
        ["noise_sample_pairs.toy", "perplexity 10", "below the 10 points of 5 pairs"],
    ),
    "more embeddings than pairs": (
        [("noise_sample_pairs.toy.embeddings", 25)],
        ["noise_sample_pairs.toy", "embeddings 25", "4 draws of 30 samples make up to 24"],
    ),
    "batches larger than a draw": (
        [("noise_sample_pairs.toy.batch_sizes", [4, 31])],
        ["noise_sample_pairs.toy", "batch_sizes: expected up to the 30 samples", "found 31"],
    ),
    "pairs matched with one noise": (
        [("noise_sample_pairs.toy.match_sizes", [1, 10])],
        ["noise_sample_pairs.toy", "match_sizes, batch_sizes: expected at least 2"],
    ),
    "pairs alone of nothing": (
        [("pairs_without_experiments", ["rooms"])],
        ["pairs_without_experiments: unknown 'rooms'; expected one of ['toy']"],
    ),
    "one dimension": (
        [("best_of_k.dimensions", [1, 4])],
        ["best_of_k", "dimensions: expected at least 2, found 1"],
    ),
    "match sizes twice": (
        [("matching_cost.match_sizes", [10, 10])],
        ["matching_cost.match_sizes", "distinct", "ascending", "found [10, 10]"],
    ),
    "a pool of one": (
        [("matching_cost.match_sizes", [1, 10])],
        ["matching_cost", "match_sizes: expected at least 2, found 1"],
    ),
    "too many levels for the image": (
        [("networks.small.channels", [32, 32, 32, 32, 32])],
        ["experiments[0]", "'small'", "4 times", "divisible by 16", "'toy'", "8×8"],
    ),
    "one side not divisible": (
        [("datasets.toy.shape", [1, 8, 7])],
        ["experiments[0]", "divisible by 2", "8×7"],
    ),
    "a shape of two": (
        [("datasets.toy.shape", [8, 8])],
        ["datasets.toy.shape", "[8, 8]"],
    ),
    "groups that don't divide": (
        [("networks.small.norm_groups", 24)],
        ["networks.small", "norm_groups 24", "[32, 64]"],
    ),
    "sampler of another process": (
        [(f"{ROW}.process", "diffusion")],
        ["every_snapshot", "ddim_original or ddim_trailing", "['euler']"],
    ),
    "sampler of another process in the row": (
        [("experiments.1.last_snapshot", {"ddim_original": [3]})],
        ["experiments[1]", "last_snapshot", "euler or heun or rk45", "['ddim_original']"],
    ),
    "unknown sampler": (
        [("recipes.flow.sampling.every_snapshot", {"midpoint": [3]})],
        ["recipes.flow.sampling.every_snapshot.midpoint", "'euler', 'heun'", "'midpoint'"],
    ),
    "steps for rk45": (
        [("recipes.flow.sampling.last_snapshot", {"rk45": [3]})],
        ["recipes.flow.sampling", "rk45 takes no step counts, found [3]"],
    ),
    "no steps for euler": (
        [("recipes.flow.sampling.last_snapshot", {"euler": []})],
        ["recipes.flow.sampling", "euler takes at least one step count, found []"],
    ),
    "zero steps": (
        [("recipes.flow.sampling.last_snapshot", {"euler": [0]})],
        ["recipes.flow.sampling.last_snapshot.euler.0", "greater than or equal to 1", "found 0"],
    ),
    "duplicate row": (
        [("experiments.+", row(seeds=[7]))],
        ["experiments[2]", "second row", "('toy', 'rectified_flow', 'independent', 0)"],
    ),
    "duplicate seeds": (
        [(f"{ROW}.seeds", [1, 2, 1])],
        [f"{ROW}.seeds", "expected distinct seeds, found [1, 2, 1]"],
    ),
    "an unknown option of a coupling": (
        [("couplings.sinkhorn.blur", 1)],
        ["couplings.sinkhorn", "blur", "unknown key"],
    ),
    "options of a coupling that has none": (
        [("couplings.sinkhorn.coupling", "greedy")],
        ["couplings.sinkhorn", "'loom', 'minibatch_ot', 'semidiscrete'", "greedy"],
    ),
    "a regularised exact plan": (
        [("couplings.sinkhorn", _WEIGHED)],
        ["couplings.sinkhorn", "regularisation 0.1: only method sinkhorn takes one"],
    ),
    "the name of a coupling for another": (
        [("couplings.loom", {"coupling": "loom", "stored": 2})],
        ["couplings.loom: expected a name that no coupling has"],
    ),
    "a pool for a variant without one": (
        [("coupling_ablations.all_of_toy.methods.2.match_size", 5)],
        ["coupling_ablations.all_of_toy.methods[2]", "match_size 5: sinkhorn takes 0"],
    ),
    "an ablation of an unknown dataset": (
        [
            (
                "coupling_ablations.nowhere",
                {**VALID["coupling_ablations"]["all_of_toy"], "dataset": "nowhere"},
            )
        ],
        ["coupling_ablations.nowhere", "dataset: unknown 'nowhere'"],
    ),
    "a method twice": (
        [("coupling_ablations.all_of_toy.methods.2", {"coupling": "independent"})],
        ["coupling_ablations.all_of_toy.methods[2]", "a second row for", "'independent', 0"],
    ),
    "a run that a row describes otherwise": (
        [("coupling_ablations.all_of_toy.methods.1.match_size", 100)],
        ["coupling_ablations.all_of_toy.methods[1]", "another run in experiments[1]"],
    ),
    "a demo of unknown couplings": (
        [("demo_couplings", ["toy"])],
        ["demo_couplings: unknown 'toy'; expected one of ['all_of_toy']"],
    ),
    "an unknown measure": (
        [("claims.0.measure.kind", "hearsay")],
        ["claims.0.measure", "hearsay", "'saving', 'distance_ratio'"],
    ),
    "a claim of what nobody runs": (
        [
            ("claims.0.measure.sampler", "ddim_trailing"),
            ("claims.0.measure.method.coupling", "magic"),
            ("claims.0.datasets", ["nowhere"]),
        ],
        [
            "claims.better.measure.sampler: unknown 'ddim_trailing'",
            "claims.better.measure.method.coupling: unknown 'magic'",
            "claims.better.datasets: unknown 'nowhere'",
        ],
    ),
    "a claim twice": (
        [("claims", [VALID["claims"][0], VALID["claims"][0]])],
        ["claims: a second claim 'better'"],
    ),
    "no seeds": ([(f"{ROW}.seeds", [])], [f"{ROW}.seeds", "at least 1 item", "found []"]),
    "negative seed": ([(f"{ROW}.seeds", [-1])], [f"{ROW}.seeds.0", "found -1"]),
    "no experiments": ([("experiments", [])], ["experiments", "at least 1 item", "found []"]),
    "more snapshots than batches": (
        [("recipes.flow.snapshots", 101)],
        ["recipes.flow", "budget_images 10050", "101 snapshots", "batch of 100"],
    ),
    "no features": (
        [("datasets.toy.features", [])],
        ["experiments[0]", "dataset 'toy' names no features"],
    ),
    "unknown features": (
        [("datasets.toy.features", ["vgg"])],
        ["datasets.toy.features.0", "'digit_classifier'", "found 'vgg'"],
    ),
    "negative learning rate": (
        [("recipes.flow.learning_rate", -0.1)],
        ["recipes.flow.learning_rate", "greater than 0", "found -0.1"],
    ),
    "decay of one": ([("recipes.flow.ema_decay", 1)], ["recipes.flow.ema_decay", "less than 1"]),
    "unknown precision": (
        [("recipes.flow.mixed_precision", "fp16")],
        ["recipes.flow.mixed_precision", "'no' or 'bf16'", "found 'fp16'"],
    ),
    "latents that the autoencoder does not make": (
        [("datasets.toy_latent.shape", [3, 8, 8])],
        ["datasets.toy_latent.shape: expected (4, 4, 4)", "'kl'", "(1, 8, 8), found (3, 8, 8)"],
    ),
    "a branch for a commit": (
        [("autoencoders.sd.revision", "main")],
        ["autoencoders.sd", "revision", "'^[0-9a-f]{40}$'", "found 'main'"],
    ),
    "chosen samples that are drawn anew": (
        [
            ("datasets.toy_latent.source.posterior", "sample"),
            ("experiments.+", row(dataset="toy_latent", coupling="semidiscrete")),
        ],
        ["experiments[2]", "semidiscrete", "posterior sample of dataset 'toy_latent'"],
    ),
    "unknown source": (
        [("datasets.toy.source.kind", "coco")],
        ["datasets.toy.source", "'coco'", "'sklearn_digits', 'cifar10', 'mnist', 'fashion_mnist'"],
    ),
    "bad name": (
        [("datasets.My-Data", VALID["datasets"]["toy"])],
        ["datasets.My-Data", "match pattern", "'My-Data'"],
    ),
}


@pytest.mark.parametrize(("changes", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_value_is_named_with_what_was_expected(changes, expected):
    text = "\n".join(problems(changed(*changes)))
    assert [part for part in expected if part not in text] == []


def test_all_wrong_values_are_listed_at_once():
    lines = problems(
        changed(
            ("experiments.1.match_size", -1),
            ("networks.small.dropout", 1.5),
            ("colour", "red"),
            ("datasets.toy.shape", [1, 0, 8]),
        )
    )
    keys = ["colour", "datasets.toy.shape.1", "experiments.1.match_size", "networks.small.dropout"]
    assert sorted(line.strip().split(":")[0] for line in lines) == keys


def test_all_wrong_references_are_listed_at_once():
    text = "\n".join(
        problems(
            changed(
                ("experiments.0.dataset", "moon"),
                ("experiments.1.recipe", "fast"),
                ("demo", ["sun"]),
                ("experiments.+", row()),
                ("experiments.+", row()),
            )
        )
    )
    for part in ("'moon'", "'fast'", "'sun'", "experiments[3]: a second row"):
        assert part in text


def test_the_grid_of_matching_costs_shrinks_with_the_scale():
    full = parse_config(VALID).scaled_matching_cost()
    assert full.shown_batch_size == 200
    small = parse_config(changed(("scale", "smoke"))).scaled_matching_cost()
    assert (small.match_sizes, small.dimensions) == ([10, 20], [12, 20])
    assert (small.batch_sizes, small.repetitions, small.seconds) == ([1, 16], 4, 1)


def test_pairs_and_the_best_of_k_shrink_with_the_scale():
    full = parse_config(VALID)
    assert full.scaled_pairs("toy") == full.noise_sample_pairs["toy"]
    assert full.scaled_best_of_k() == full.best_of_k
    config = parse_config(changed(("scale", "smoke")))
    pairs = config.scaled_pairs("toy")
    assert (pairs.count, pairs.draws, pairs.embeddings, pairs.time_bins) == (20, 2, 2, 4)
    assert (pairs.match_sizes, pairs.batch_sizes, pairs.pairs) == ([20], [4, 20], 5)
    few = parse_config(changed(("scale", "smoke"), ("scales.smoke.images", 3)))
    assert few.scaled_pairs("toy").count == 5  # those of a t-SNE
    best = config.scaled_best_of_k()
    assert (best.dimensions, best.counts, best.draws) == ([4, 20], [1, 10, 20], 20)
    with pytest.raises(InputError, match="no entry for 'rooms'; expected one of \\['toy'\\]"):
        full.scaled_pairs("rooms")


def test_rows_of_rectified_flow_are_found_by_how_they_were_trained():
    config = parse_config(changed(("experiments.+", row(coupling="greedy", match_size=40))))
    assert config.vanilla_flow("toy") == config.experiments[0]
    assert config.matched_flow("toy") == config.experiments[1]  # of the larger match size
    assert config.vanilla_flow("rooms") is config.matched_flow("rooms") is None


@pytest.mark.parametrize(
    ("plan", "longest"),
    [
        ({"euler": [3, 100], "rk45": []}, ("rk45", 0)),
        ({"euler": [3, 100], "heun": [50]}, ("euler", 100)),
        ({"ddim_original": [3, 50], "ddim_trailing": [50]}, ("ddim_trailing", 50)),
    ],
)
def test_the_longest_sampling_is_the_nearest_to_exact(plan, longest):
    values = VALID["recipes"]["flow"]["sampling"] | {"last_snapshot": plan}
    assert Sampling.model_validate(values).longest == longest
    values["long"] = {"euler": [1000]}
    expected = longest if longest[0] == "rk45" else ("euler", 1000)
    assert Sampling.model_validate(values).longest == expected


def test_a_file_is_read_and_its_mistakes_name_it(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(VALID))
    assert load_config(path) == parse_config(VALID)
    path.write_text(yaml.safe_dump(changed(("demo", ["moon"]))))
    with pytest.raises(InputError, match="'moon'") as caught:
        load_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a configuration file, found none"),
        ("a: [", "expected valid YAML, found"),
        ("", "found None"),
        ("- a", r"found \['a'\]"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_config(path)
    assert str(path) in str(caught.value)


def test_rows_are_found_by_dataset_and_key():
    config = parse_config(VALID)
    assert config.rows("toy") == config.experiments
    assert config.row("toy", "rectified_flow", "greedy", 100) is config.experiments[1]
    with pytest.raises(InputError, match=r"'rooms': expected .* one of \['toy'\]"):
        config.rows("rooms")
    with pytest.raises(InputError, match=r"greedy, 7; expected one of .*'greedy', 100\)"):
        config.row("toy", "rectified_flow", "greedy", 7)


def test_a_comparison_of_couplings_has_rows_of_its_own():
    config = parse_config(VALID)
    names = [(row.coupling, row.match_size, row.seeds) for row in config.ablation("all_of_toy")]
    assert names == [("independent", 0, [1, 4]), ("greedy", 50, [1, 4]), ("sinkhorn", 0, [1, 4])]
    assert len(config.rows("toy")) == 2
    row = config.row("toy", "rectified_flow", "sinkhorn", 0)
    settings = config.run_settings(row, seed=4)
    assert (settings.coupling, settings.coupling_kind) == ("sinkhorn", "minibatch_ot")
    assert settings.coupling_options == {"method": "sinkhorn"}
    plain = config.run_settings(config.row("toy", "rectified_flow", "greedy", 50), seed=1)
    assert (plain.coupling, plain.coupling_kind, plain.coupling_options) == ("greedy", "greedy", {})
    with pytest.raises(InputError, match=r"no entry 'rooms'; expected one of \['all_of_toy'\]"):
        config.ablation("rooms")


def test_a_run_takes_its_recipes_values_unless_the_row_replaces_them():
    config = parse_config(VALID)
    plain, own = (config.run_settings(r, 1) for r in config.experiments)
    assert (plain.budget_images, plain.snapshots, plain.batch_size) == (10050, 5, 100)
    assert (own.budget_images, own.snapshots, own.batch_size) == (3000, 3, 100)
    assert (own.coupling, own.match_size, own.seed) == ("greedy", 100, 1)
    assert own.network == config.networks["small"] and own.shape == (1, 8, 8)
    sampling = [config.sampling(r) for r in config.experiments]
    assert [s.n_samples for s in sampling] == [1000, 400]
    assert [s.last_snapshot for s in sampling] == [{"euler": [3, 5, 10], "rk45": []}, {"heun": [7]}]
    assert [s.every_snapshot for s in sampling] == [{"euler": [3, 5]}] * 2


def test_long_sampling_is_of_the_last_snapshots_first_range_only():
    content = changed(("recipes.flow.sampling.long", {"euler": [10, 100], "rk45": []}))
    sampling = parse_config(content).recipes["flow"].sampling
    assert sampling.sets(last=False) == [("euler", 3, 1), ("euler", 5, 1)]
    # What last_snapshot asks for as well keeps its ranges.
    assert sampling.sets(last=True) == [
        *(("euler", steps, 2) for steps in (3, 5, 10)),
        ("rk45", 0, 2),
        ("euler", 100, 1),
    ]
    assert problems(changed(("recipes.flow.sampling.long", {"rk45": [3]})))


def test_steps_cover_the_budget_and_snapshots_are_evenly_spaced():
    config = parse_config(VALID)
    run = config.run_settings(config.experiments[0], 1)
    assert run.steps == 101  # 10 050 images in batches of 100
    assert run.snapshot_steps() == [20, 40, 61, 81, 101]


@pytest.mark.parametrize("snapshots", [1, 2, 7, 50, 99, 100])
def test_snapshots_are_all_different_and_end_with_the_run(snapshots):
    config = parse_config(changed(("recipes.flow.snapshots", snapshots)))
    steps = config.run_settings(config.experiments[0], 1).snapshot_steps()
    assert len(set(steps)) == snapshots and steps == sorted(steps)
    assert steps[0] >= 1 and steps[-1] == 101


def test_settings_are_equal_as_json_only_if_they_are_equal():
    config = parse_config(VALID)
    first, second = config.experiments
    one = config.run_settings(first, 1).canonical_json()
    assert one == parse_config(deepcopy(VALID)).run_settings(first, 1).canonical_json()
    assert list(json.loads(one)) == sorted(json.loads(one))
    others = [config.run_settings(first, 2), config.run_settings(second, 1)]
    assert one not in [other.canonical_json() for other in others]


def test_figures_of_archived_results_have_a_folder_of_their_own():
    assert parse_config(changed(("from", "reference"))).results == "results/from_reference"


def test_a_scale_shrinks_every_budget_and_moves_the_results():
    config = parse_config(changed(("scale", "smoke")))
    assert config.results == "results/smoke"
    vanilla, greedy = config.experiments
    assert (config.seeds(vanilla), config.seeds(greedy)) == ([1, 2], [1])
    run = config.run_settings(vanilla, 1)
    assert (run.batch_size, run.budget_images, run.steps) == (16, 64, 4)
    assert run.snapshots == 2 and run.snapshot_steps() == [2, 4]
    assert run.network.channels == [8, 8] and run.network.layers_per_block == 1
    assert all(c % run.network.norm_groups == 0 for c in run.network.channels)
    assert config.sampling(vanilla).n_samples == 50
    assert config.scaled_classifier("toy").epochs == 1
    assert config.scaled_autoencoder("kl").budget_images == 64
    marginals = config.scaled_marginals()
    assert (marginals.count, marginals.batch_size) == (64, 16)
    assert config.scaled_autoencoder("sd") == config.autoencoders["sd"]
    assert config.scaled_source("rooms").count == 20
    whole = parse_config(changed(("scale", "smoke"), ("datasets.rooms.source.count", None)))
    assert whole.scaled_source("rooms").count == 20
    few = parse_config(changed(("scale", "smoke"), ("datasets.rooms.source.count", 3)))
    assert few.scaled_source("rooms").count == 3
    assert config.scaled_source("toy") == config.datasets["toy"].source
    # What says which experiment it is stays as it was.
    assert (run.match_size, run.coupling) == (0, "independent")


def test_an_autoencoder_knows_the_shapes_of_its_datasets():
    config = parse_config(VALID)
    assert config.latent_shapes("kl") == {"toy_latent": ((1, 8, 8), (4, 4, 4))}
    assert config.latent_shapes("sd") == {}


def test_only_a_reduced_scale_has_features_of_random_weights():
    names = ["digit_classifier", "inception_clean"]
    changes = [
        ("datasets.toy.features", names),
        ("datasets.toy.source", {"kind": "sklearn_digits"}),
    ]
    assert parse_config(changed(*changes)).features("toy") == names
    smoke = parse_config(changed(*changes, ("scale", "smoke")))
    assert smoke.features("toy") == ["digit_classifier", "random_inception_clean"]


def test_a_standin_is_a_source_in_another_folder():
    cifar10 = {"kind": "cifar10", "folder": "resources/cifar10"}
    config = parse_config(changed(("datasets.rooms.source", cifar10), ("scale", "smoke")))
    source = config.standin_source("rooms", Path("elsewhere"))
    assert source.folder == Path("elsewhere") and not source.published
    assert config.datasets["rooms"].source.published
    smoke = parse_config(changed(("scale", "smoke")))
    rooms = smoke.standin_source("rooms", Path("elsewhere"))
    assert rooms == smoke.scaled_source("rooms").model_copy(update={"folder": Path("elsewhere")})


def test_without_a_scale_nothing_shrinks():
    config = parse_config(VALID)
    assert config.seeds(config.experiments[0]) == [1, 2, 3]
    assert config.scaled_classifier("toy") == config.classifiers["toy"]
    assert config.scaled_marginals() == config.coupling_marginals
    assert config.scaled_autoencoder("kl") == config.autoencoders["kl"]
    assert config.scaled_source("rooms").count == 500


def test_a_scale_never_enlarges():
    huge = dict.fromkeys(VALID["scales"]["smoke"], 10**6)
    small = parse_config(VALID)
    large = parse_config(changed(("scales.smoke", huge), ("scale", "smoke")))
    for a, b in zip(small.experiments, large.experiments, strict=True):
        assert large.run_settings(b, 0) == small.run_settings(a, 0)
        assert large.sampling(b) == small.sampling(a)
    assert large.scaled_autoencoder("kl") == small.autoencoders["kl"]
    assert large.scaled_marginals() == small.coupling_marginals


def test_the_schema_names_every_key_and_forbids_others():
    schema = json.loads(config_schema())
    assert set(VALID) <= set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert {"match_size", "budget_images"} <= set(schema["$defs"]["Experiment"]["properties"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("experiments.1.snapshots", 31, "31 snapshots of at least one batch"),
        ("experiments.1.last_snapshot", {"heun": []}, "heun takes at least one step count"),
        ("recipes.flow.learning_rate", float("inf"), "finite number, found inf"),
    ],
    ids=["more snapshots than batches", "no step counts", "infinite learning rate"],
)
def test_values_that_cannot_work_are_refused(key, value, message):
    assert message in "\n".join(problems(changed((key, value))))


def test_a_scale_leaves_runs_that_can_work():
    config = parse_config(
        changed(("scales.smoke.channels", 12), ("scales.smoke.snapshots", 5), ("scale", "smoke"))
    )
    settings = config.run_settings(config.experiments[0], 0)
    assert all(c % settings.network.norm_groups == 0 for c in settings.network.channels)
    steps = settings.snapshot_steps()
    assert sorted(set(steps)) == steps and steps[-1] == settings.steps


def test_a_key_given_twice_is_refused(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(VALID) + "demo: [toy]\n")
    with pytest.raises(InputError, match="the key 'demo' twice"):
        load_config(path)


@pytest.mark.parametrize(
    ("settings", "gpus", "request_"),
    [
        ({}, 0, {"gpu": 0, "gpu_model": None, "gres": None}),
        ({}, 2, {"gpu": 2, "gpu_model": None, "gres": None}),
        ({"gpu_type": "a100"}, 2, {"gpu": 2, "gpu_model": "a100", "gres": None}),
        ({"gpu_type": "a100"}, 0, {"gpu": 0, "gpu_model": None, "gres": None}),
        ({"gpu_request": "gres"}, 2, {"gpu": 0, "gpu_model": None, "gres": "gpu:2"}),
        (
            {"gpu_request": "gres", "gpu_type": "a100"},
            4,
            {"gpu": 0, "gpu_model": None, "gres": "gpu:a100:4"},
        ),
        ({"gpu_request": "gres"}, 0, {"gpu": 0, "gpu_model": None, "gres": None}),
    ],
)
def test_gpus_are_asked_for_in_the_clusters_form(settings, gpus, request_):
    assert Cluster(**settings).request(gpus) == request_


def test_processes_must_be_able_to_share_a_batch():
    content = deepcopy(VALID)
    content["recipes"]["flow"]["hardware"]["gpu"] = 3
    with pytest.raises(InputError, match="batch_size 100 must be a multiple of the 3 GPUs"):
        parse_config(content)
    content["recipes"]["flow"]["hardware"]["gpu"] = 4
    assert parse_config(content).recipes["flow"].hardware.gpu == 4


@pytest.mark.parametrize("gpu_type", ["", "a100:2", "-x", "a b"])
def test_a_gpu_type_is_a_name(gpu_type):
    content = {**deepcopy(VALID), "cluster": {"gpu_type": gpu_type}}
    with pytest.raises(InputError, match=r"cluster\.gpu_type"):
        parse_config(content)
