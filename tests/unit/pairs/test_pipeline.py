"""Pairs of a pipeline: the noises of the others, prompts in turn, and batches that are kept."""

import pytest
import torch

from dansm.data.pair_store import open_pairs
from dansm.errors import InputError
from dansm.models.pipelines import load_pipeline, read_report, sample_latents, write_random_pipeline
from dansm.pairs import pipeline
from dansm.pairs.draws import draw_pairs
from dansm.pairs.paths import PREFERABLE, preferable_noises, read_pairs
from dansm.pairs.pipeline import make_pipeline_pairs

SHAPE = (4, 8, 8)
PROMPTS = ["a pear", "a bird", "a lake"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipelines") / "random"
    write_random_pipeline(SHAPE, path)
    return path


def pairs_of(folder, path, **changes):
    options = {"shape": SHAPE, "steps": 2, "guidance_scale": 3.0, "batch_size": 2, "count": 5}
    options |= {"work": path / "work", "path": path / "pairs", **changes}
    make_pipeline_pairs("painter", folder, PROMPTS, "none", **options)
    return open_pairs(path / "pairs")


def test_pairs_are_the_preferable_noises_and_what_the_pipeline_makes_of_them(folder, tmp_path):
    pairs = pairs_of(folder, tmp_path)
    assert torch.equal(pairs.noise, preferable_noises(5, SHAPE))
    painter = load_pipeline(folder, "cpu")
    # Prompts in turn, and pair 4 made with pair 5, which is not asked for.
    noise = preferable_noises(6, SHAPE)[4:]
    expected = sample_latents(painter, [PROMPTS[1], PROMPTS[2]], noise, 2, 3.0)
    assert torch.equal(pairs.samples[4], expected[0])
    assert pairs.meta["teacher"]["pipeline"] == read_report(folder)
    assert (pairs.meta["prompts"], pairs.meta["guidance_scale"]) == (PROMPTS, 3.0)
    assert (pairs.meta["scheduler"], pairs.meta["nfe"]) == ("DDIMScheduler", 2)


def test_interrupted_pairs_go_on_where_they_stopped(folder, tmp_path, monkeypatch):
    made, real = [], pipeline.sample_latents

    def interrupted(painter, prompts, *arguments):
        if len(made) == 1:
            raise KeyboardInterrupt
        made.append(prompts)
        return real(painter, prompts, *arguments)

    monkeypatch.setattr(pipeline, "sample_latents", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pairs_of(folder, tmp_path / "stopped")
    monkeypatch.setattr(pipeline, "sample_latents", lambda *a: made.append(a[1]) or real(*a))
    stopped = pairs_of(folder, tmp_path / "stopped")
    assert made == [["a pear", "a bird"], ["a lake", "a pear"], ["a bird", "a lake"]]
    assert stopped.sha256 == pairs_of(folder, tmp_path / "whole").sha256


def test_figures_take_pairs_in_place_of_a_runs(folder, tmp_path):
    pairs = pairs_of(folder, tmp_path)
    draws = {"draws": 2, "count": 2, "match_sizes": [4], "seed": 0}
    draw_pairs(tmp_path / "draws.npz", runs=[], store=None, pairs=pairs, **draws)
    drawn = read_pairs(tmp_path / "draws.npz")
    assert torch.equal(drawn.samples.flatten(0, 1), pairs.samples[:4])
    assert torch.equal(drawn.noises(PREFERABLE).flatten(0, 1), pairs.noise[:4])
    for few in ({"count": 3}, {"draws": 3}):
        with pytest.raises(InputError, match="expected 6 pairs of the preferable noises, found 5"):
            draw_pairs(tmp_path / "x.npz", runs=[], store=None, pairs=pairs, **draws | few)


def test_more_steps_than_the_scheduler_has_are_refused(folder, tmp_path):
    with pytest.raises(InputError, match=r"painter\.pipeline\.steps: expected at most 1000, as"):
        pairs_of(folder, tmp_path, steps=1001)
    assert not (tmp_path / "work").exists()
