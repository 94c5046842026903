import pytest
import torch

from dansm.couplings import COUPLINGS, fit_potentials, make_coupling

MATCH_SIZES = {"greedy": 4, "hungarian": 4, "knn": 4}
SAMPLES = torch.rand(5, 3, generator=torch.Generator().manual_seed(0))
OPTIONS = {
    "semidiscrete": {
        "samples": SAMPLES,
        "potentials": fit_potentials(SAMPLES, seed=0, steps=2, batch_size=4, progress=False),
    },
    "loom": {"count": 5, "shape": (3,)},
    "paired": {"noise": SAMPLES, "samples": SAMPLES},
}


@pytest.mark.parametrize("name", COUPLINGS)
def test_couplings_are_made_by_name(name):
    size, options = MATCH_SIZES.get(name, 0), OPTIONS.get(name, {})
    coupling = make_coupling(name, match_size=size, seed=3, **options)
    assert type(coupling) is COUPLINGS[name] and coupling.name == name
    state = coupling.state_dict()
    assert (state["name"], state["match_size"], state["seed"]) == (name, size, 3)


@pytest.mark.parametrize("name", OPTIONS)
def test_what_a_coupling_must_know_has_no_default(name):
    missing = sorted(OPTIONS[name])
    with pytest.raises(ValueError, match=rf"{name}: expected the options \['{missing[0]}'"):
        make_coupling(name)


@pytest.mark.parametrize("name", MATCH_SIZES)
def test_match_sizes_have_no_default_where_one_is_needed(name):
    with pytest.raises(ValueError, match=f"match_size 0: {name} takes"):
        make_coupling(name)


def test_options_reach_the_coupling():
    assert make_coupling("immiscible", quantized=True).quantized
    coupling = make_coupling("minibatch_ot", method="sinkhorn", regularisation=0.3)
    assert (coupling.method, coupling.regularisation) == ("sinkhorn", 0.3)


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("independent", r"\[\]"),
        ("hungarian", r"\[\]"),
        ("immiscible", r"\['quantized'\]"),
        ("minibatch_ot", r"\['method', 'regularisation'\]"),
    ],
)
def test_an_unknown_option_is_refused(name, allowed):
    size = MATCH_SIZES.get(name, 0)
    with pytest.raises(ValueError, match=f"{name}: unknown option 'metric'; .*{allowed}"):
        make_coupling(name, match_size=size, metric="cosine")


def test_an_option_of_another_coupling_is_refused():
    with pytest.raises(ValueError, match="knn: unknown option 'quantized'"):
        make_coupling("knn", match_size=4, quantized=True)
