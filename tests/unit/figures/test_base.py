"""Titles come from the catalogue, and figures look alike whatever Matplotlib is told."""

import matplotlib
import pandas as pd
import pytest

from dansm.couplings.registry import options_text
from dansm.errors import InputError
from dansm.figures.base import (
    coupling_title,
    looks_of,
    metric_title,
    process_place,
    process_title,
    run_titles,
    sampler_title,
    style,
    unequal_note,
)


def runs(*rows):
    names = ("run", "process", "coupling", "match_size", "options", "times", "loss", "baseline")
    return pd.DataFrame(rows, columns=names)


def test_runs_are_called_by_what_differs_from_their_baseline(monkeypatch):
    from dansm.catalogue import TIMES
    from dansm.couplings.registry import Entry

    entries = {**TIMES, "early": Entry("early", "", "Early times", "")}
    monkeypatch.setattr("dansm.figures.base.TIMES", entries)
    flow, usual = "rectified_flow", ("uniform", "squared_error")
    table = runs(
        ("b", flow, "greedy", 1000, None, *usual, "v"),
        ("a", flow, "greedy", 100, None, *usual, "v"),
        ("d", flow, "greedy", 100, None, "early(a=4)", "squared_error", "v"),
        ("twin", flow, "greedy", 1000, None, *usual, "v"),
        ("s", flow, "semidiscrete", 0, "metric=covariance", *usual, "v"),
        ("v", flow, "independent", 0, None, *usual, "v"),
        ("w", "diffusion", "independent", 0, None, *usual, "w"),
        (None, "real_halves", None, None, None, None, None, None),
    )
    assert list(run_titles(table).items()) == [
        ("v", "Vanilla"),
        ("w", "Vanilla"),
        ("a", "Match size 100"),
        ("d", "Match size 100, Early times, a 4"),
        ("b", "Match size 1,000 (b)"),
        ("twin", "Match size 1,000 (twin)"),
        ("s", "Semidiscrete, covariance"),
    ]


@pytest.mark.parametrize(
    ("coupling", "size", "options", "title"),
    [
        ("greedy", 10_000, {}, "Match size 10,000"),
        ("immiscible", 0, {"quantized": True}, "Immiscible, quantized"),
        ("loom", 0, {"stored": 4}, "LOOM, stored 4"),
        ("minibatch_ot", 0, {"method": "sinkhorn"}, "Minibatch OT, sinkhorn"),
    ],
)
def test_couplings_are_called_as_in_the_catalogue(coupling, size, options, title):
    assert coupling_title(coupling, size, options_text(options) or None) == title


def test_an_unknown_coupling_is_named():
    with pytest.raises(InputError, match=r"expected one of .*greedy.*found 'guessing'"):
        coupling_title("guessing", 0)


@pytest.mark.parametrize(
    ("sampler", "title"),
    [
        ("euler", "Euler"),
        ("rk45", "RK45, adaptive steps"),
        ("ddim_trailing", "DDIM, trailing spacing"),
        ("heun_uniform", "Heun, uniform"),
        ("my_own", "my_own"),
        ("mine", "mine"),
    ],
)
def test_samplers_are_called_by_what_their_names_say(sampler, title):
    assert sampler_title(sampler) == title


def test_processes_are_called_by_their_options_and_stand_in_the_catalogues_order():
    velocity = "diffusion(prediction=velocity, zero_snr=True)"
    assert process_title(velocity) == "Diffusion, velocity, zero snr"
    names = ["edm", velocity, "diffusion", "rectified_flow"]
    assert sorted(names, key=process_place) == ["rectified_flow", "diffusion", velocity, "edm"]


def test_only_inceptions_features_give_a_fid():
    assert metric_title("frechet_distance", "inception_clean", "training").startswith(
        "FID against training images, inception_clean"
    )
    for extractor in ("classifier", "random_inception_clean"):
        assert metric_title("frechet_distance", extractor, "held_out").startswith(
            "Fréchet distance against held-out images, "
        )
    assert metric_title("recall", "inception_clean", None).startswith("Recall, ")


def test_looks_can_be_told_apart_without_colour():
    looks = looks_of(map(str, range(14))).values()
    assert len({look["marker"] for look in looks}) == 14


def test_a_note_says_what_differs_and_only_then():
    table = pd.DataFrame({"unequal": ["recipe, sampling", None, "recipe, sampling"]})
    assert unequal_note(table) == "; runs differ in recipe, sampling"
    assert unequal_note(table[1:2]) == ""


def test_a_users_configuration_leaks_nowhere():
    with matplotlib.rc_context({"axes.facecolor": "red", "lines.linewidth": 9}):
        with style():
            assert matplotlib.rcParams["axes.facecolor"] == "white"
            assert matplotlib.rcParams["lines.linewidth"] == 1.3
        assert matplotlib.rcParams["axes.facecolor"] == "red"
