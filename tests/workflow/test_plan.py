"""What Snakemake plans and refuses, without running a job."""

import re
from collections import Counter

import pytest

RUNS = {"digits": 12, "digits_latent": 2, "mnist16": 20, "cifar10": 8, "bedroom": 8}
COUPLINGS = 14  # compared on the digits, with 5 seeds each
DEMO_COUPLINGS = 7  # of them, with one seed each, in the demo
ROW = (
    "{dataset: digits, process: rectified_flow, coupling: greedy, match_size: 100, seeds: [0, 1], "
    "recipe: digits_flow}"
)


def test_all_resolves_for_every_dataset_of_the_paper(project):
    jobs = project.planned("all")
    # Vanilla and three match sizes of greedy are rows too, with two seeds of the digits; MNIST's
    # comparison adds three runs of one coupling to its rows.
    ablation = 5 * COUPLINGS - 4 * 2 + 3
    assert jobs["train_model"] == jobs["evaluate_run"] == sum(RUNS.values()) + ablation
    assert jobs["fit_potentials"] == 2
    assert jobs["collect_ablation"] == jobs["coupling_ablation"] == 3  # the demo's is one of them
    assert jobs["measure_coupling_speed"] == jobs["measure_coupling_claims"] == 3
    assert jobs["collect_distances"] == jobs["collect_times"] == jobs["measure_speed"] == len(RUNS)
    for figure in ("distance_table", "distance_curves", "distance_time", "saving", "claims"):
        assert jobs[figure] == len(RUNS)
    assert jobs["measure_matching_share"] == jobs["measure_claims"] == len(RUNS)
    assert jobs["measure_coupling_marginals"] == 1


def test_the_demo_has_a_small_comparison_of_couplings(project):
    jobs = project.planned("demo")
    runs = RUNS["digits"] + RUNS["digits_latent"]
    assert jobs["train_model"] == runs + DEMO_COUPLINGS - 4  # four of them are rows too
    assert jobs["collect_ablation"] == jobs["coupling_ablation"] == 1
    assert jobs["measure_coupling_speed"] == jobs["measure_coupling_marginals"] == 1
    assert jobs["fit_potentials"] == 2
    assert jobs["measure_matching_share"] == jobs["measure_claims"] == 2
    assert "coupling_ablation_digits.csv" not in project.succeeds("--dry-run", "demo")


def test_a_comparison_of_couplings_is_made_by_name(project):
    jobs = project.planned("results/coupling_speed_digits.csv")
    assert jobs["train_model"] == 5 * COUPLINGS
    output = project.fails("--dry-run", "results/coupling_speed_cifar10.csv")
    assert "no entry 'cifar10'; expected one of ['digits', 'digits_demo', 'mnist16']" in output


def test_the_cost_of_matching_needs_no_runs(project):
    assert project.planned("results/figures/matching_share_digits.png") == {
        "build_dataset": 1,
        "measure_matching_share": 1,
        "matching_share": 1,
    }


def test_the_cost_of_all_matchings_is_no_part_of_the_demo(project):
    jobs = project.planned("all")
    assert jobs["measure_matching_cost"] == jobs["matching_cost"] == 1
    # Bedroom's pixels and a second latent space have no model, so no loss either.
    pairs = ("draw_pairs", "measure_paths", "count_crossings")
    assert {jobs[rule] for rule in pairs} == {len(RUNS) + 2}
    assert jobs["noise_sample_tsne"] == jobs["path_geometry"] == len(RUNS) + 2
    assert jobs["measure_loss_over_time"] == jobs["measure_reproducibility"] == len(RUNS)
    assert jobs["measure_best_of_k"] == jobs["best_of_k"] == 1


def test_samples_without_a_model_are_the_datasets(project):
    assert project.planned("results/figures/noise_sample_tsne_bedroom_pixels.png") == {
        "download": 1,
        "build_dataset": 1,
        "draw_pairs": 1,
        "count_crossings": 1,
        "noise_sample_tsne": 1,
    }
    vanilla = project.planned("results/figures/path_geometry_digits.png")
    assert vanilla["train_model"] == 1 and "evaluate_run" not in vanilla
    output = project.fails("--dry-run", "results/figures/loss_over_time_church.png")
    assert "no row of vanilla rectified flow for church" in output
    output = project.fails("--dry-run", "results/paths_ffhq.csv")
    assert "noise_sample_pairs: no entry for 'ffhq'" in output


def test_the_paper_table_of_bedroom_resolves_by_name(project):
    assert project.planned("results/fid_bedroom.csv") == {
        "download": 1,
        "build_dataset": 1,
        "fetch_autoencoder": 1,
        "fetch_inception": 1,
        "encode_latents": 1,
        "compute_reference": 2,
        "measure_reconstruction": 2,
        "train_model": 8,
        "evaluate_run": 8,
        "collect_distances": 1,
    }


def test_the_cost_of_matching_needs_no_data(project):
    assert project.planned("results/figures/matching_cost.png") == {
        "measure_matching_cost": 1,
        "matching_cost": 1,
    }
    assert not {"measure_matching_cost", "matching_cost"} & set(project.planned("demo"))


def test_what_all_needs_can_be_staged(project):
    assert project.planned("stage_data") == {
        "download": 5,
        "fetch_autoencoder": 1,
        "fetch_inception": 1,
        "stage_data": 1,
    }


def test_a_reduced_scale_makes_up_what_is_published_and_full_scale_cannot(project):
    smoke = project.planned("results/smoke/fid_bedroom.csv", "--config", "scale=smoke")
    made = {rule for rule in smoke if rule.startswith("make_smoke")}
    assert made == {"make_smoke_dataset", "make_smoke_autoencoder", "make_smoke_inception"}
    assert not {"download", "fetch_autoencoder", "fetch_inception"} & set(smoke)
    (project.folder / "resources" / "lsun" / "bedroom_train_lmdb").mkdir(parents=True)
    (project.folder / "resources" / "lsun" / "bedroom_train_lmdb" / "data.mdb").touch()
    there = project.planned("results/smoke/fid_bedroom.csv", "--config", "scale=smoke")
    assert "make_smoke_dataset" not in there and there["download"] == 1  # which finds it
    assert "No rule to produce" in project.fails("--dry-run", "results/standins/bedroom_pixels")


def test_a_dataset_without_experiments_can_be_built(project):
    for dataset, downloads in {"mnist": 2, "church_pixels": 1, "ffhq": 0, "imagenet64": 0}.items():
        jobs = project.planned(f"results/data/{dataset}")
        assert jobs == {"build_dataset": 1} | ({"download": downloads} if downloads else {})


def test_an_unknown_download_names_what_is_known(project):
    output = project.fails("--dry-run", "resources/downloads/cifar10/cifar.zip.json")
    assert "cifar10 has no published file 'cifar.zip'" in output
    assert "expected one of ['cifar-10-python.tar.gz']" in output


def test_semidiscrete_brings_the_fit_of_its_potentials(project):
    row = ROW.replace("greedy, match_size: 100", "semidiscrete, match_size: 0")
    project.edit_config(ROW, row)
    assert project.planned("results/fid_digits.csv")["fit_potentials"] == 1
    assert project.planned("results/times_digits.csv")["fit_potentials"] == 1


@pytest.mark.parametrize("arguments", [["demo"], ["results/fid_bedroom.csv"]])
def test_the_plan_counts_the_jobs_that_snakemake_would_run(project, arguments):
    done = project.run("-m", "dansm.cli", "plan", "--every-rule", *arguments)
    assert done.returncode == 0, done.stdout
    jobs = Counter()
    for line in done.stdout.split("\n---")[0].splitlines()[1:]:
        rule, *_, count = re.match(r" *(\w+)( +[a-z]\w*)? +(\d+) ", line).groups()
        jobs[rule] += int(count)
    assert jobs == project.planned(*arguments)
    assert "The estimate rests on:" in done.stdout


def test_snakemake_prints_the_plan_of_everything(project):
    output = project.succeeds("plan")
    total = sum(project.planned("all").values())
    assert re.search(rf"^ *total +{total} ", output, flags=re.MULTILINE), output
    assert re.search(r"train_model +bedroom +8 +\d+ ", output)
    assert "NVIDIA" in output and "not measured" in output


def test_the_plan_is_that_of_the_whole_configuration(project):
    vanilla = ROW.replace("greedy, match_size: 100", "independent, match_size: 0")
    (project.folder / "site.yaml").write_text(
        f"demo: [digits]\nexperiments: [{vanilla}]\npairs_without_experiments: []\n"
    )
    output = project.succeeds("plan", "--configfile", "site.yaml")
    assert re.search(r"train_model +digits +\d+ ", output), output
    assert "bedroom" not in output and "cifar10" not in output


def test_the_plan_of_an_unknown_target_says_what_snakemake_says(project):
    done = project.run("-m", "dansm.cli", "plan", "results/fid_imagenet.csv")
    assert done.returncode == 1
    assert "expected a list of jobs, found" in done.stdout
    assert "unknown dataset 'imagenet'" in done.stdout


def test_without_a_target_everything_is_planned(project):
    assert project.planned() == project.planned("all")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (ROW, ROW.replace("}", ", match_sise: 3}"), r"match_sise: unknown key \(value 3\)"),
        (ROW, ROW.replace("100", "-100"), r"match_size: .*greater than or equal to 0, found -100"),
        (ROW, ROW.replace("100", "10.5"), r"match_size: .*valid integer.*found 10\.5"),
        (ROW, ROW.replace("digits,", "digit,", 1), r"unknown 'digit'; expected one of .*'digits'"),
        (
            "{channels: [16, 32], layers",
            "{channels: [16, 32, 32, 32, 32], layers",
            r"divisible by 16; dataset 'digits' is 8×8",
        ),
    ],
)
def test_a_wrong_config_is_refused_before_any_job(project, old, new, message):
    project.edit_config(old, new)
    output = project.fails("demo")
    assert re.search(message, output), output
    assert "config/config.yaml is not valid" in output
    assert not (project.folder / "results").exists()


def test_an_unknown_target_names_what_is_known(project):
    output = project.fails("--dry-run", "results/fid_imagenet.csv")
    assert "unknown dataset 'imagenet'" in output
    assert "'bedroom', 'cifar10', 'digits', 'digits_latent'" in output


@pytest.mark.parametrize("name", ["fid_digits.csv", "fid_imagenet.csv", "runs/x/model.safetensors"])
def test_a_result_placed_by_hand_is_refused(project, name):
    path = project.folder / "results" / name
    path.parent.mkdir(parents=True)
    path.write_text("dataset,value\ndigits,0.1\n")
    output = project.fails("demo")
    assert f"results/{name}" in output
    assert "no run made" in output
    path.unlink()
    assert project.planned("demo")["train_model"] == 17


def test_lint_finds_nothing(project):
    assert "in a good condition" in project.succeeds("--lint")


def test_a_results_folder_that_cannot_be_written_is_named(project):
    (project.folder / "results").write_text("a file where the folder should be")
    output = project.fails("demo")
    assert re.search(r"results: the results folder must be writable", output), output


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


def test_the_slurm_profile_plans_every_job_with_its_resources(project):
    output = project.succeeds(*SLURM, "all")
    training = resources_of(output, "train_model")
    paper = [job for job in training if job["runtime"] == "2880"]
    assert len(paper) == RUNS["cifar10"] + RUNS["bedroom"]
    for job in paper:
        # Not capped by the cores of this machine.
        assert (job["threads"], job["gpu"], job["mem_mb"]) == ("8", "1", "32000")
    for job in training:
        assert job["slurm_extra"] == "--signal=TERM@120 --open-mode=append"
    assert {job["gpu"] for job in resources_of(output, "build_dataset")} == {"0"}
    for rule in ("encode_latents", "compute_reference", "evaluate_run", "collect_distances"):
        for job in resources_of(output, rule):
            assert {"mem_mb", "runtime", "gpu", "nodes"} <= set(job)


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
    project.edit_config(
        "cluster: {gpu_request: gpus}", "cluster: {gpu_request: gpus, gpu_type: h100}"
    )
    output = project.succeeds(*SLURM, "results/fid_bedroom.csv")
    for rule, gpus in (("train_model", "5"), ("evaluate_run", "1")):
        for job in resources_of(output, rule):
            assert (job["gpu"], job["gpu_model"], job["threads"]) == (gpus, "h100", "32")
