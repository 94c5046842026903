import pytest

MEASURE = "claims.0.measure"
PAIRS = "noise_sample_pairs.toy"
PIPELINE = {
    "name": "owner/name",
    "prompts": "prompts.txt",
    "steps": 50,
    "guidance_scale": 7.5,
    "shape": [4, 8, 8],
    "licence": "none",
}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({f"{MEASURE}.kind": "hearsay"}, "claims.0.measure: Input tag 'hearsay' found"),
        ({f"{MEASURE}.colour": 1},
         "claims.0.measure.distance_ratio.colour: unknown key (value 1); expected one of ['feat"),
        ({f"{MEASURE}.metric": "beauty"},
         "distance_ratio.metric: unknown metric 'beauty'; expected one of ['classifier_score', 'c"),
        ({f"{MEASURE}.sampler": "magic"}, "claims.better.measure.sampler: unknown 'magic'"),
        ({f"{MEASURE}.run": "nobody"}, "claims.better.measure: unknown 'nobody'; expected one of"),
        ({f"{MEASURE}.steps": ...},
         "claims.better.measure: sampler 'euler' of rectified_flow: euler: steps: expected at le"),
        ({f"{MEASURE}.sampler": "rk45"},
         "claims.better.measure: sampler 'rk45' of rectified_flow: rk45: expected no steps"),
        ({f"{MEASURE}.kind": "distance_factor", f"{MEASURE}.runs": ["vanilla"]},
         "claims.0.measure.distance_factor.runs: Value should have at least 2 items"),
        ({"claims.0.threshold": float("nan")}, "claims.0.threshold: Input should be a finite numb"),
        ({"claims.0.threshold": True}, "claims.0.threshold: expected a number, found True"),
        ({"claims.0.comparisons": ["nowhere"]}, "claims.better.comparisons: unknown 'nowhere'"),
        ({f"{MEASURE}.run": "short"},
         "claims.better.comparisons: 'students' does not compare ['short']"),
        ({"claims.0.comparisons": ..., "comparisons.toy.runs": ["vanilla", "noisy"],
          "comparisons.students.runs": ["vanilla", "student"]},
         "claims.better: expected a comparison of ['greedy_100', 'vanilla'], found none"),
        ({"claims.1.name": "better"}, "claims: a second claim 'better'"),
        # what else is measured
        ({"coupling_marginals.comparison": "moon"}, "coupling_marginals.comparison: unknown 'moon"),
        ({"coupling_marginals.batch_size": 1}, "greater than or equal to 2, found 1"),
        ({"noise_sample_pairs.moon": {}}, "noise_sample_pairs.moon.count: Field required"),
        ({f"{PAIRS}.run": "nobody"}, "noise_sample_pairs.toy.run: unknown 'nobody'; expected one"),
        ({f"{PAIRS}.matched_run": "nobody"}, "noise_sample_pairs.toy.matched_run: unknown 'nobody"),
        ({f"{PAIRS}.run": None}, "noise_sample_pairs.toy: matched_run 'greedy_100': expected a ru"),
        ({f"{PAIRS}.perplexity": 10}, "perplexity 10.0 must be below the 10 points of 5 pairs"),
        ({f"{PAIRS}.embeddings": 25}, "embeddings 25: 4 draws of 30 samples make up to 24 of 5 pa"),
        ({f"{PAIRS}.batch_sizes": [4, 31]}, "batch_sizes: expected up to the 30 samples of a draw"),
        ({f"{PAIRS}.match_sizes": [1, 10]}, "match_sizes.0: Input should be greater than or equal"),
        ({f"{PAIRS}.pipeline": PIPELINE}, "toy: run: expected none beside a pipeline"),
        ({f"{PAIRS}.run": None, f"{PAIRS}.matched_run": None, f"{PAIRS}.pipeline": PIPELINE},
         "noise_sample_pairs.toy.pipeline: expected a name that no dataset has, since their files"),
        ({f"{PAIRS}.pipeline": PIPELINE | {"revision": "main"}}, "revision: String should match"),
        ({f"{PAIRS}.pipeline": PIPELINE | {"guidance_scale": -1}}, "guidance_scale: Input should"),
        ({f"{PAIRS}.pipeline": PIPELINE | {"prompts": ...}}, "pipeline.prompts: expected a path"),
        ({"best_of_k.dimensions": [1, 4]}, "best_of_k.dimensions.0: Input should be greater than"),
        ({"matching_cost.match_sizes": [10, 10]},
         "matching_cost.match_sizes: expected distinct numbers in ascending order, found [10, 10]"),
        ({"matching_cost.match_sizes": [1, 10]}, "matching_cost.match_sizes.0: Input should be gr"),
        ({"matching_share.match_sizes": []}, "matching_share.match_sizes: List should have at lea"),
    ],
)  # fmt: skip
def test_a_measurement_that_cannot_be_is_refused(problems, changes, expected):
    assert expected in problems(changes)


def test_claims_belong_to_comparisons_that_have_their_runs(parsed):
    config = parsed()
    said = {c: [claim.name for claim in config.claims_of(c)] for c in config.all_comparisons}
    assert said == {"toy": ["nearer"], "students": ["better"]}
    of_all = parsed({"claims.0.comparisons": ...})
    assert [claim.name for claim in of_all.claims_of("toy")] == ["better", "nearer"]
    without = parsed({"claims.0.comparisons": ..., "comparisons.students.runs": ["student"],
                      "comparisons.students.baseline": ...})  # fmt: skip
    assert without.claims_of("students") == []


@pytest.mark.parametrize("changes", [{}, {"claims.0.measure": {
    "kind": "saving", "sampler": "euler", "steps": 3, "run": "greedy_100"}}])  # fmt: skip
def test_claims_about_steps_that_a_scale_leaves_out_are_left_out(parsed, changes):
    for steps, said in ((None, ["better"]), ([3], ["better"]), ([5], [])):
        small = {"scale": "smoke", "scales.smoke.steps": steps}
        assert [c.name for c in parsed(changes | small).claims_of("students")] == said
