import dataclasses
import subprocess
import sys

import pytest

from dansm import catalogue
from dansm.catalogue import COUPLINGS, EXTRACTORS, METRICS, PROCESSES, SOLVERS, Pick

CATALOGUES = ["COUPLINGS", "PROCESSES", "TIMES", "LOSSES", "SOLVERS", "GRIDS", "EXTRACTORS",
              "METRICS", "SOURCES"]  # fmt: skip
ENTRIES = [
    pytest.param(name, entry, id=f"{kind} {name}")
    for kind in CATALOGUES
    for name, entry in getattr(catalogue, kind).items()
]


@pytest.mark.parametrize(("name", "entry"), ENTRIES)
def test_every_entry_has_an_implementation_and_words_for_it(name, entry):
    assert entry.name == name
    implementation = entry.load()
    assert callable(getattr(implementation, "read", implementation))  # of sources, a module
    assert entry.summary and not entry.summary.endswith(".")
    options = dataclasses.fields(entry.options)
    needed = {f.name: 7 for f in options if f.default is dataclasses.MISSING}
    assert entry.label(needed) and "{" not in entry.label(needed)


def test_names_are_known_without_pytorch():
    code = "import sys, dansm.catalogue, dansm.config; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("pick", "plain", "text", "slug"),
    [
        (Pick("loom"), "loom", "loom", "loom"),
        (
            Pick("greedy", {"match_size": 100}),
            {"greedy": {"match_size": 100}},
            "greedy(match_size=100)",
            "greedy-100",
        ),
        (
            Pick("teacher_pairs", {"teacher": "v", "sampler": "rk45", "count": 5}),
            {"teacher_pairs": {"teacher": "v", "sampler": "rk45", "count": 5}},
            "teacher_pairs(count=5, sampler=rk45, teacher=v)",
            "teacher_pairs-5-rk45-v",
        ),
    ],
)
def test_picks_are_written_for_the_configuration_tables_and_file_names(pick, plain, text, slug):
    assert (pick.plain, pick.text, pick.slug) == (plain, text, slug)


def test_picks_are_equal_by_what_they_say():
    one, other = Pick("x", {"a": 1, "b": 2}), Pick("x", {"b": 2, "a": 1})
    assert one == other and len({one, other}) == 1
    assert one != Pick("x", {"a": 1}) and one != Pick("x")


@pytest.mark.parametrize(
    ("name", "options", "label"),
    [
        ("independent", {}, "Vanilla"),
        ("greedy", {"match_size": 10_000}, "Match size 10,000"),
        ("semidiscrete", {}, "Semidiscrete"),
        ("semidiscrete", {"metric": "covariance"}, "Semidiscrete, covariance"),
        ("loom", {"stored": 4}, "LOOM, stored 4"),
        ("immiscible", {"quantized": True}, "Immiscible, quantized"),
        ("minibatch_ot", {"method": "sinkhorn"}, "Minibatch OT, sinkhorn"),
    ],
)
def test_labels_hold_the_options_that_differ(name, options, label):
    assert COUPLINGS[name].label(options) == label


def test_entries_name_only_entries():
    assert all(set(process.grids) <= set(catalogue.GRIDS) for process in PROCESSES.values())
    for extractor in EXTRACTORS.values():
        assert extractor.score in METRICS
        assert extractor.standin is None or extractor.standin in EXTRACTORS
    assert any(solver.adaptive for solver in SOLVERS.values())
