"""What Snakemake plans and refuses, without running a job."""

import re
from collections import Counter

import pytest

from dansm.workflow.dry_run import parse_jobs

SMOKE = ("--config", "scale=smoke")
# An entry of runs as the shipped configuration has it.
REFLOW = "name: reflow"
GREEDY = "      dansm_100: {coupling: {greedy: {match_size: 100}}}\n      dansm_1000: "


def runs_of(jobs, rule="train_model"):
    """Return dataset, run and seed of a rule's jobs."""
    keys = ("dataset", "run", "seed")
    return [tuple(job.wildcards[key] for key in keys) for job in jobs if job.rule == rule]


def compared(config, names):
    """Return the same of all runs of comparisons."""
    return {
        (one.dataset, run, str(seed))
        for one in map(config.comparison, names)
        for run in one.runs
        for seed in one.seeds[run]
    }


def subjects(jobs, rule, key):
    return [job.wildcards[key] for job in jobs if job.rule == rule]


# What there is.


@pytest.mark.parametrize("target", ["all", "demo", "digits", "few_steps"])
def test_a_target_trains_and_evaluates_the_runs_of_its_comparisons_once(shipped, target):
    config, jobs = shipped.parsed_config(), shipped.jobs(target)
    every = {name: one for name, one in config.all_comparisons.items() if one.in_all}
    names = {**config.targets, "all": [*every]}[target]
    assert sorted(runs_of(jobs)) == sorted(compared(config, names))
    own = {name for name in names if config.comparison(name).sampling is not None}
    assert sorted(runs_of(jobs, "evaluate_run")) == sorted(compared(config, {*names} - own))
    sampled = [(job.wildcards["comparison"], job) for job in jobs if job.rule == "sample_run"]
    for name in own:
        of_comparison = runs_of([job for of, job in sampled if of == name], "sample_run")
        assert sorted(of_comparison) == sorted(compared(config, [name]))
    assert {name for name, _ in sampled} == own
    for rule in ("collect_distances", "summarise"):
        assert sorted(subjects(jobs, rule, "comparison")) == sorted(names)


def test_all_has_every_result_that_is_named_after_something(shipped):
    config, jobs = shipped.parsed_config(), shipped.jobs("all")
    comparisons = {name: one for name, one in config.all_comparisons.items() if one.in_all}
    claimed = [name for name in comparisons if config.claims_of(name)]
    assert sorted(subjects(jobs, "measure_claims", "comparison")) == sorted(claimed)
    assert sorted(subjects(jobs, "write_fid", "comparison")) == ["bedroom", "cifar10"]
    with_runs = [one.dataset for one in comparisons.values() if one.is_default]
    assert sorted(subjects(jobs, "measure_matching_share", "dataset")) == sorted(with_runs)
    pairs = config.noise_sample_pairs
    for rule in ("draw_pairs", "measure_paths", "count_crossings"):
        assert sorted(subjects(jobs, rule, "dataset")) == sorted(pairs)
    # Bedroom's pixels and a second latent space have no model, so no loss either.
    generated = [name for name in pairs if pairs[name].run]
    assert sorted(subjects(jobs, "measure_loss_over_time", "dataset")) == sorted(generated)
    figures = Counter(job.wildcards["figure"] for job in jobs if job.rule == "draw_figure")
    assert {path.stem for path in (shipped.folder / "notebooks").glob("*.ipynb")} == set(figures)
    for name, one in comparisons.items():
        drawn = {
            job.wildcards["figure"]
            for job in jobs
            if job.rule == "draw_figure" and job.wildcards["subject"] == f"_{name}"
        }
        assert one.figures is None or set(one.figures) <= drawn


def test_what_takes_long_is_no_part_of_the_demo(shipped):
    rules = shipped.planned("demo")
    takes_long = {"measure_matching_cost", "download", "fetch_inception", "make_pairs"}
    takes_long |= {"fit_potentials", "measure_matching_share", "measure_loss_over_time"}
    assert not takes_long & set(rules)
    assert rules["train_model"] == rules["evaluate_run"] == 4 * 3
    assert shipped.planned() == shipped.planned("all")


def test_the_paper_table_of_bedroom_resolves_by_name(shipped):
    assert shipped.planned("results/fid_bedroom.csv") == {
        "download": 1,
        "build_dataset": 1,
        "build_held_out": 1,
        "compare_held_out": 1,
        "fetch_autoencoder": 1,
        "fetch_inception": 1,
        "encode_latents": 1,
        "compute_reference": 4,
        "measure_reconstruction": 2,
        "train_model": 8,
        "evaluate_run": 8,
        "collect_distances": 1,
        "write_fid": 1,
    }


def test_a_run_brings_what_it_is_trained_on(shipped):
    folder = "results/runs/digits"
    jobs = shipped.jobs(f"{folder}/reflow/seed1/run.json", f"{folder}/semidiscrete/seed2/run.json")
    assert sorted(runs_of(jobs)) == [
        ("digits", "reflow", "1"),
        ("digits", "semidiscrete", "2"),
        ("digits", "vanilla", "1"),
    ]
    (pairs,) = [job.wildcards for job in jobs if job.rule == "make_pairs"]
    expected = {"dataset": "digits", "teacher": "vanilla", "seed": "1", "pairs": "rk45-8192"}
    assert pairs == expected
    (fit,) = [job.wildcards for job in jobs if job.rule == "fit_potentials"]
    assert fit == {"dataset": "digits", "potentials": "semidiscrete"}


def test_what_needs_no_run_needs_none(shipped):
    for target, rules in {
        "results/figures/matching_cost.png": {"measure_matching_cost", "draw_figure"},
        "results/figures/matching_share_digits.png": {
            "build_dataset",
            "measure_matching_share",
            "draw_figure",
        },
        "results/figures/noise_sample_tsne_bedroom_pixels.png": {
            "download",
            "build_dataset",
            "draw_pairs",
            "count_crossings",
            "draw_figure",
        },
        "results/figures/noise_sample_tsne_stable_diffusion.png": {
            "fetch_pipeline",
            "make_pipeline_pairs",
            "draw_pairs",
            "count_crossings",
            "draw_figure",
        },
    }.items():
        assert shipped.planned(target) == dict.fromkeys(rules, 1)
    drawn = shipped.planned("results/figures/path_geometry_digits.png")
    assert drawn["train_model"] == 3 and "evaluate_run" not in drawn


def test_what_all_needs_can_be_staged(shipped):
    assert shipped.planned("stage_data") == {
        "download": 7,
        "fetch_autoencoder": 1,
        "fetch_inception": 1,
        "fetch_pipeline": 1,
        "stage_data": 1,
    }


def test_a_dataset_without_runs_can_be_built(shipped):
    for dataset, downloads in {"mnist": 2, "church_pixels": 1, "ffhq": 0, "imagenet64": 0}.items():
        jobs = shipped.planned(f"results/data/{dataset}")
        assert jobs == {"build_dataset": 1} | ({"download": downloads} if downloads else {})


def test_a_reduced_scale_makes_up_what_is_published_and_full_scale_cannot(project):
    smoke = project.planned("results/smoke/fid_bedroom.csv", *SMOKE)
    made = {rule for rule in smoke if rule.startswith("make_smoke")}
    assert made == {"make_smoke_dataset", "make_smoke_autoencoder", "make_smoke_inception"}
    assert not {"download", "fetch_autoencoder", "fetch_inception"} & set(smoke)
    (project.folder / "resources" / "lsun" / "bedroom_train_lmdb").mkdir(parents=True)
    (project.folder / "resources" / "lsun" / "bedroom_train_lmdb" / "data.mdb").touch()
    there = project.planned("results/smoke/fid_bedroom.csv", *SMOKE)
    assert "make_smoke_dataset" not in there and there["download"] == 1  # which finds it
    assert "No rule to produce" in project.fails("--dry-run", "results/standins/bedroom_pixels")


# What is refused.


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("runs/digits/vanilla/seed7/run.json", "digits vanilla declares the seeds [0, 1, 2, 3, 4]"),
        ("runs/digits/vanila/seed0/run.json", "digits has no run 'vanila'; expected one of ["),
        ("runs/mnist/vanilla/seed0/run.json", "'mnist' has no runs; expected one of ['bedroom'"),
        ("distances_imagenet.csv", "unknown comparison 'imagenet'; expected one of ['bedroom'"),
        ("fid_digits.csv", "No rule to produce results/fid_digits.csv"),
        ("data/imagenet", "No rule to produce results/data/imagenet"),
        ("figures/best_of_k_digits.png", "expected results/figures/best_of_k.png"),
        ("figures/saving_imagenet.png", "unknown comparison 'imagenet'"),
        ("figures/loss_over_time_church.png", "noise_sample_pairs.church: no run, so there is no"),
        ("paths_ffhq.csv", "noise_sample_pairs: no entry for 'ffhq'"),
        (
            "pairs/digits/vanilla/seed0/rk45-7",
            "is taught by its pairs 'rk45-7'; expected one of ['heun-10-1",
        ),
        ("potentials/digits/greedy.npz", "no run needs potentials 'greedy'; expected one of ['sem"),
    ],
)
def test_what_is_not_declared_is_refused(shipped, target, message):
    output = shipped.fails("--dry-run", f"results/{target}")
    (line,) = {line.strip() for line in output.splitlines() if message in line}
    assert "Traceback" not in line


def test_an_unknown_download_names_what_is_known(shipped):
    output = shipped.fails("--dry-run", "resources/downloads/cifar10/cifar.zip.json")
    assert "cifar10 has no published file 'cifar.zip'" in output
    assert "expected one of ['cifar-10-python.tar.gz']" in output


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (REFLOW, "name: reflow\n    match_sise: 3", r"match_sise: unknown key \(value 3\)"),
        (REFLOW, "name: vanilla", r"a second run 'digits vanilla'"),
        (
            "start: vanilla",
            "start: reflow",
            r"a circle of teachers and starts, digits reflow → digits reflow",
        ),
        ("teacher: vanilla", "teacher: tutor", r"teacher: unknown 'tutor'; expected one of \["),
        (
            "count: 8192",
            "count: 8192, steps: 4",
            r"rk45: expected no steps, as it chooses its own, found 4",
        ),
        (GREEDY, GREEDY.replace("greedy: {", "gready: {", 1), r"unknown coupling 'gready'"),
        (
            GREEDY,
            GREEDY.replace("match_size: 100}}", "match_size: 100}}, n_samples: 200"),
            r"comparisons\.digits: runs differ in n_samples, vanilla has 1000 and dansm_100 200",
        ),
        (
            "{channels: [16, 32], layers",
            "{channels: [16, 32, 32, 32, 32], layers",
            r"divisible by 16; dataset 'digits' is 8×8",
        ),
    ],
)
def test_a_wrong_config_is_refused_before_any_job(project, old, new, message):
    text = project.config.read_text()
    project.config.write_text(text.replace(old, new, 1))
    output = project.fails("demo", "--dry-run")
    assert re.search(message, output), output
    assert "config/config.yaml is not valid" in output
    assert not (project.folder / "results").exists()


@pytest.mark.parametrize(
    "content", [b"a: " + b"[" * 3000, b"b: &b {c: *b}", b"a: \xff"], ids=["deep", "itself", "bytes"]
)
def test_a_config_that_is_no_yaml_is_told_without_a_traceback(project, content):
    project.config.write_bytes(content)
    output = project.fails("--dry-run")
    assert "config/config.yaml: expected" in output
    assert not re.search("Traceback|RecursionError|UnicodeDecodeError", output)


@pytest.mark.parametrize("name", ["fid_digits.csv", "fid_imagenet.csv", "runs/x/model.safetensors"])
def test_a_result_placed_by_hand_is_refused(project, name):
    path = project.folder / "results" / name
    path.parent.mkdir(parents=True)
    path.write_text("dataset,value\ndigits,0.1\n")
    output = project.fails("--dry-run", "demo")
    assert f"results/{name}" in output
    assert "no job made" in output
    path.unlink()
    assert "train_model" in project.planned("demo")


def test_a_results_folder_that_cannot_be_written_is_named(project):
    (project.folder / "results").write_text("a file where the folder should be")
    output = project.fails("--dry-run", "demo")
    assert re.search(r"results: the results folder must be writable", output), output


def test_lint_finds_nothing(shipped):
    assert "in a good condition" in shipped.succeeds("--lint")


# What it costs.


def test_the_plan_counts_the_jobs_that_snakemake_would_run(shipped):
    done = shipped.run("-m", "dansm.cli", "plan", "--every-rule", "results/fid_bedroom.csv", "demo")
    assert done.returncode == 0, done.stdout
    jobs = Counter()
    for line in done.stdout.split("\n---")[0].splitlines()[1:]:
        rule, *_, count = re.match(r" *(\w+)( +[a-z]\w*)? +(\d+) ", line).groups()
        jobs[rule] += int(count)
    assert jobs == shipped.planned("results/fid_bedroom.csv", "demo")
    assert "The estimate rests on:" in done.stdout


def test_snakemake_prints_the_plan_of_the_whole_configuration(project):
    """Also from files whose names a shell would take for something else."""
    name = "a site; touch PWNED.yaml"
    (project.folder / name).write_text("matching_share: {rounds: 2}\n")
    output = project.succeeds("plan", "--configfile", name, *SMOKE)
    config = project.parsed_config(scale="smoke")
    names = [name for name, one in config.all_comparisons.items() if one.in_all]
    trained = [run for run in compared(config, names) if run[0] == "bedroom"]
    assert re.search(rf"train_model +bedroom +{len(trained)} +", output), output
    assert not list(project.folder.glob("PWNED*"))


def test_the_plan_of_an_unknown_target_says_what_snakemake_says(shipped):
    done = shipped.run("-m", "dansm.cli", "plan", "results/distances_imagenet.csv")
    assert done.returncode == 1
    assert "expected a list of jobs, found" in done.stdout
    assert "unknown comparison 'imagenet'" in done.stdout


# What jobs ask for.

SLURM = ("--profile", "slurm", "--dry-run", "--quiet", "host", "--")


def resources_of(output, rule):
    """Return the threads and resources of a rule's jobs in a dry run, each as a dictionary."""
    jobs = []
    for block in re.split(r"\n(?=\[)", output):
        if f"\nrule {rule}:\n" in block:
            fields = dict(re.findall(r"^    (threads|resources): (.*)$", block, re.MULTILINE))
            pairs = (pair.split("=", 1) for pair in fields["resources"].split(", "))
            jobs.append({"threads": fields.get("threads", "1"), **dict(pairs)})
    return jobs


def test_the_slurm_profile_plans_every_job_with_its_resources(shipped):
    output = shipped.succeeds(*SLURM, "all")
    training = resources_of(output, "train_model")
    paper = [job for job in training if job["runtime"] == "2880"]
    large = shipped.parsed_config()
    assert len(paper) == len(compared(large, ["cifar10", "bedroom"]))
    for job in paper:
        # Not capped by the cores of this machine.
        assert (job["threads"], job["gpu"], job["mem_mb"]) == ("8", "1", "32000")
    for job in training:
        assert job["slurm_extra"] == "--signal=TERM@120 --open-mode=append"
    assert {job["gpu"] for job in resources_of(output, "build_dataset")} == {"0"}
    for rule in {job.rule for job in parse_jobs(output)} - {"all", "download"}:
        for job in resources_of(output, rule):
            assert {"mem_mb", "runtime", "gpu", "nodes"} <= set(job), rule


def test_gpus_of_a_type_as_gres_by_one_setting(project):
    project.edit_config(
        "cluster: {gpu_request: gpus}", "cluster: {gpu_request: gres, gpu_type: a100}"
    )
    output = project.succeeds(*SLURM, "results/fid_bedroom.csv")
    for rule in ("train_model", "evaluate_run", "encode_latents", "compute_reference"):
        for job in resources_of(output, rule):
            assert (job["gpu"], job["gres"]) == ("0", "gpu:a100:1")
            assert "gpu_model" not in job


def test_several_gpus_train_together_and_one_evaluates(project):
    project.edit_config(
        "hardware: {threads: 8, mem_mb: 32_000, runtime: 2880, gpu: 1}",
        "hardware: {threads: 32, mem_mb: 128_000, runtime: 2880, gpu: 5}",
    )
    # Several GPUs cannot train what is differentiated forwards.
    one = "hardware: {threads: 8, mem_mb: 32_000, runtime: 2880, gpu: 1}"
    project.edit_config("cifar10_mean_flow: {<<: *paper", f"cifar10_mean_flow: {{<<: *paper, {one}")
    project.edit_config(
        "cluster: {gpu_request: gpus}", "cluster: {gpu_request: gpus, gpu_type: h100}"
    )
    output = project.succeeds(*SLURM, "results/fid_bedroom.csv")
    for rule, gpus in (("train_model", "5"), ("evaluate_run", "1")):
        for job in resources_of(output, rule):
            assert (job["gpu"], job["gpu_model"], job["threads"]) == (gpus, "h100", "32")
