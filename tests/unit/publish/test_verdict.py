"""The verdict on couplings: what it says is in the summaries."""

import numpy as np
import pytest

from dansm.analysis.distances import summarise
from dansm.io.tables import (
    COMPARISON_COLUMNS,
    MARGINAL_COLUMNS,
    SUMMARY_COLUMNS,
    read_table,
    write_table,
)
from dansm.publish.verdict import verdict_page

# Distances to held-out images at 3 and 10 steps.
RUNS = {
    "vanilla": ("independent", 0, (60.0, 20.0)),
    "dansm_100": ("greedy", 100, (30.0, 12.0)),
    "semidiscrete": ("semidiscrete", 0, (10.0, 11.9)),
}


def row(dataset, run, seed, image_set, steps, value, **changes):
    coupling, match_size, _ = RUNS[run]
    return {
        "dataset": dataset,
        "run": run,
        "process": "rectified_flow",
        "coupling": coupling,
        "match_size": match_size,
        "times": "uniform",
        "loss": "squared_error",
        "seed": seed,
        "images_seen": 64_000,
        "sampler": "euler",
        "steps": steps,
        "nfe": float(steps),
        "image_set": image_set,
        "metric": "frechet_distance",
        "feature_extractor": "classifier",
        "reference": "held_out",
        "n_samples": 10,
        "value": value,
        "seconds": 25.0,
        "baseline": "vanilla",
        **changes,
    }


def archive(folder, dataset, comparison, runs, seeds=3, reference="held_out"):
    """Write the summary of runs whose values differ a little by seed and by set of images."""
    rng = np.random.default_rng(0)
    rows = []
    for run in runs:
        for seed in range(seeds):
            for image_set in range(3):
                at = dataset, run, seed, image_set
                for steps, value in zip((3, 10), RUNS[run][2], strict=True):
                    value *= np.exp(0.01 * rng.normal())
                    rows.append(row(*at, steps, value, reference=reference))
                    if reference == "held_out":
                        rows.append(row(*at, steps, 99.0 * value, reference="training"))
                if run == "vanilla":
                    memory = {"metric": "nearer_to_training", "feature_extractor": "pixels"}
                    rows.append(row(*at, 10, 0.55, reference=None, **memory))
    write_table(folder / "distances.csv", rows, COMPARISON_COLUMNS)
    summary = summarise(read_table(folder / "distances.csv", COMPARISON_COLUMNS))
    write_table(folder / f"summary_{comparison}.csv", summary, SUMMARY_COLUMNS)


def cells(page, begin):
    (line,) = [line for line in page.splitlines() if line.startswith(f"| {begin} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


@pytest.fixture
def folder(tmp_path):
    archive(tmp_path, "digits", "digits_couplings", RUNS)
    archive(tmp_path, "digits", "digits_demo", list(RUNS)[:2])  # fewer couplings
    cost = {"dataset": "digits", "coupling": "greedy", "match_size": 100, "window": "stream"}
    cost |= {"statistic": "microseconds_per_sample", "value": 22.61}
    write_table(tmp_path / "coupling_marginals.csv", [cost], MARGINAL_COLUMNS)
    return tmp_path


def test_each_coupling_has_what_it_reaches_remembers_costs_and_asks(folder):
    page = verdict_page(folder)
    assert page.count("## digits") == 1 and "summary_digits_couplings.csv" in page
    assert "Distances are to held-out images." in page
    greedy, vanilla = cells(page, "Match size 100"), cells(page, "Vanilla")
    semidiscrete = cells(page, "Semidiscrete")
    assert [one[0] for one in (semidiscrete, greedy, vanilla)] == [
        line.split(" | ")[0].strip("| ") for line in page.splitlines() if line.startswith("| ")
    ][2:5]
    assert greedy[1].startswith("30.") or greedy[1].startswith("29.")
    assert greedy[3:] == ["not measured", "25", "22.6", "Gaussian over a pool", "nothing"]
    assert vanilla[3] == "55.0 % ± 0.0" and vanilla[5] == "–"
    assert semidiscrete[-1] == "a finite dataset without augmentation, a fit before training"


def test_what_cannot_be_told_from_the_best_is_in_bold_and_may_be_taken(folder):
    page = verdict_page(folder)
    bold = {
        name: [cell.startswith("**") for cell in cells(page, name)[1:3]]
        for name in ("Semidiscrete", "Match size 100", "Vanilla")
    }
    assert bold == {
        "Semidiscrete": [True, True],
        "Match size 100": [False, True],
        "Vanilla": [False, False],
    }
    any_data = cells(page, "on any data, augmented or endless")
    assert any_data[1].startswith("Match size 100: ") and any_data[1].endswith(" behind the best")
    assert any_data[2] == "Match size 100: not to be told from the best"
    finite = cells(page, "on a finite dataset without augmentation")
    assert finite[1] == "Semidiscrete: the lowest mean of all"


def test_without_held_out_images_and_with_one_seed_the_page_says_so(tmp_path):
    archive(tmp_path, "mnist16", "mnist16", RUNS, seeds=1, reference="training")
    page = verdict_page(tmp_path)
    assert "Distances are to training images, since none were held out" in page
    assert "1 seeds" in page and "±" not in cells(page, "Match size 100")[1]
    assert cells(page, "on any data, augmented or endless")[1].endswith(" above the lowest mean")
