import pytest

STUDENTS = "comparisons.students"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"comparisons.toys": {}}, "comparisons.toys.dataset: unknown 'toys'; expected one of ['t"),
        ({f"{STUDENTS}.dataset": "rooms"},
         "comparisons.students.dataset: unknown 'rooms'; expected one of ['toy']"),
        ({f"{STUDENTS}.runs.+": "nobody"},
         "comparisons.students.runs: unknown 'nobody'; expected one of ['greedy_100', 'noisy', 's"),
        ({f"{STUDENTS}.runs.+": "vanilla"}, "comparisons.students.runs: expected each once"),
        ({f"{STUDENTS}.runs": []}, "comparisons.students.runs: List should have at least 1 item"),
        ({"comparisons.rooms": {"dataset": "toy"}},
         "comparisons.rooms.dataset: expected 'rooms', since files of the dataset have that name"),
        ({f"{STUDENTS}.baseline": "noisy"},
         "comparisons.students.baseline: unknown 'noisy'; expected one of ['greedy_100', 'student"),
        ({f"{STUDENTS}.baseline": ["vanilla", "greedy_100"]},
         "comparisons.students.baseline: expected one of a process, found ['vanilla', 'greedy_100"),
        ({"comparisons.toy.baseline": "vanilla"},
         "comparisons.toy.baseline: expected one of ['diffusion'] too, found ['vanilla']"),
        ({f"{STUDENTS}.seeds": [2, 9]},
         "comparisons.students.seeds: expected those of its runs, found 9, which none has"),
        ({f"{STUDENTS}.seeds": [1]},
         "comparisons.students.seeds: expected one of student, [2, 3], found [1]"),
        ({f"{STUDENTS}.seeds": [2, 2]}, "comparisons.students.seeds: expected each once"),
        ({f"{STUDENTS}.figures": ["saving", "saving"]}, "students.figures: expected each once"),
        ({f"{STUDENTS}.unequal": ["mood"]}, "comparisons.students.unequal.0: Input should be 'rec"),
        ({"comparisons.toy.unequal": ["budget_images", "n_samples", "sampling"]},
         "comparisons.toy: runs differ in recipe, vanilla has 'flow' and noisy 'diffusion'; a "
         "comparison that is meant so says unequal: [recipe]"),
        ({"comparisons.toy.unequal": ["recipe", "n_samples", "sampling"]},
         "runs differ in budget_images, vanilla has 10050 and short 3000"),
        ({"comparisons.toy.unequal": ["recipe", "budget_images", "sampling"]},
         "runs differ in n_samples, vanilla has 1000 and short 400"),
        ({"comparisons.toy.unequal": ["recipe", "budget_images", "n_samples"]},
         "runs differ in sampling, vanilla has {'each_snapshot': {'euler': "),
        ({f"{STUDENTS}.sampling": {"final": {"magic": [3]}}},
         "comparisons.students.sampling: unknown 'magic'; expected one of ['"),
        ({f"{STUDENTS}.sampling": {"final": {}}},
         "comparisons.students.sampling.final: Dictionary should have at least 1 item"),
        ({f"{STUDENTS}.sampling": {"final": {"euler": []}}},
         "students.sampling: sampler 'euler' of rectified_flow: euler: steps: expected at least 1"),
        ({"comparisons.toy": ...}, "comparisons.toy: runs differ in recipe"),  # of its default, too
        (
            {"targets": {"demo": ["moon"]}},
            "targets.demo: unknown 'moon'; expected one of ['students', 'toy']",
        ),
        ({"targets": {"demo": []}}, "targets.demo: List should have at least 1 item"),
        ({"report": ["cats"]}, "report: unknown 'cats'; expected one of ['students', 'toy']"),
        ({"from": "elsewhere"}, "from: Input should be 'reference', found 'elsewhere'"),
        ({"from": "reference", "scale": "smoke"}, "from: expected no scale beside it, found 'smok"),
    ],
)  # fmt: skip
def test_a_comparison_that_cannot_be_is_refused(problems, changes, expected):
    assert expected in problems(changes)


def test_a_declared_comparison_holds_what_it_says(parsed):
    config = parsed()
    students = config.comparison("students")
    assert (students.dataset, students.runs) == ("toy", ["greedy_100", "vanilla", "student"])
    assert students.baselines == {"rectified_flow": "vanilla"}
    assert students.seeds == {"greedy_100": [2, 3], "vanilla": [2, 3], "student": [2, 3]}
    assert (students.unequal, students.figures, students.is_default) == ([], ["comparison"], False)


def test_a_dataset_with_runs_has_a_comparison_of_all_of_them(parsed):
    config = parsed({"comparisons.toy.baseline": ...})
    toy = config.comparison("toy")
    assert [*config.all_comparisons] == ["toy", "students"]
    assert toy.runs == [run.name for run in config.runs] and toy.is_default
    assert toy.baselines == {"rectified_flow": "vanilla", "diffusion": "noisy"}
    assert toy.seeds["student"] == [2, 3] and toy.figures is None
    assert toy.unequal == ["recipe", "budget_images", "n_samples", "sampling"]


def test_a_process_with_other_options_has_a_baseline_of_its_own(parsed):
    velocity = {"diffusion": {"prediction": "velocity"}}
    config = parsed({"comparisons.toy.baseline": ..., "runs.1.process": velocity})
    changed = next(run.name for run in config.runs if run.process.options)
    assert config.comparison("toy").baselines == {
        "rectified_flow": "vanilla",
        "diffusion(prediction=velocity)": changed,
        "diffusion": "noisy",
    }


def test_unequal_tells_what_does_differ(parsed):
    config = parsed({f"{STUDENTS}.unequal": ["sampling"]})
    assert config.comparison("students").unequal == []


def test_results_have_a_folder_by_what_they_are(parsed):
    assert parsed().results == "results"
    assert parsed({"scale": "smoke"}).results == "results/smoke"
    assert parsed({"from": "reference"}).results == "results/from_reference"


def test_a_comparison_may_sample_its_runs_itself(parsed):
    own = {"final": {"euler": [1, 2]}, "final_one_set": {"euler": [50]}}
    config = parsed({f"{STUDENTS}.sampling": own})
    students, run = config.comparison("students"), config.run("toy", "student")
    found = config.sampling(run, students.sampling)
    assert found.plans == ({}, {"euler": [1, 2]}, {"euler": [50]})
    assert found.n_samples == config.sampling(run).n_samples
    assert config.sampling(run).final != found.final
