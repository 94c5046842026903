"""What holds for every coupling, made by name, over all samples or within classes."""

import io

import pytest
import torch

from dansm.couplings import (
    COUPLINGS,
    Batch,
    OnlineCoupling,
    PerClass,
    Potentials,
    make_coupling,
)
from dansm.couplings.potentials import Evenness, classes_sha256, dataset_sha256

MATCH_SIZES = {"greedy": 10, "hungarian": 5, "knn": 4}
NEEDED = {
    "semidiscrete": ["potentials", "samples"],
    "loom": ["count", "shape"],
    "paired": ["noise", "samples"],
    "teacher_pairs": ["noise", "samples"],
}
GIVEN = {"paired", "teacher_pairs"}  # whose pairs are not matched
ROWS = torch.randperm(24, generator=torch.Generator().manual_seed(1))
ZEROS = torch.zeros(24)
LABELS = torch.tensor([0, 0, 0, 7, 7, 2]).repeat(4)
KINDS = {name: (name, {}) for name in COUPLINGS}
KINDS |= {
    f"{name} per class": (name, {"labels": "label"}) for name in COUPLINGS if name not in GIVEN
}
KINDS |= {
    "quantized": ("immiscible", {"quantized": True}),
    "sinkhorn": ("minibatch_ot", {"method": "sinkhorn", "regularisation": 0.05}),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def data(shape=(2, 3)):
    # On the CPU, whatever torch's default is.
    stream = torch.Generator().manual_seed(0)
    return torch.randn((24, *shape), generator=stream, dtype=torch.float32, device="cpu")


def made(kind, shape=(2, 3), seed=3):
    name, options = KINDS[kind]
    x = data(shape)
    if name == "semidiscrete":
        classes = LABELS if options else None
        of = None if classes is None else classes_sha256(classes)
        even = Evenness(1, 0.0, 0.0, 0.0, 0.0)
        potentials = Potentials(ZEROS, dataset_sha256(x), 0, even, of)
        options = {**options, "samples": x, "potentials": potentials, "classes": classes}
    if name == "loom":
        options = {**options, "count": 24, "shape": shape}
    if name in GIVEN:
        options = {"noise": x.flip(0), "samples": x}
    return make_coupling(name, match_size=MATCH_SIZES.get(name, 0), seed=seed, **options)


def batches(shape=(2, 3), dtype=torch.float32):
    """An epoch and the beginning of the next one."""
    x, rows = data(shape).to(dtype), torch.cat([ROWS, ROWS[:6]])
    return [Batch(x[part], {"row": part, "label": LABELS[part]}) for part in rows.split([7, 9, 14])]


def saved_and_loaded(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.samples, other.samples) and torch.equal(one.noise, other.noise)
        assert torch.equal(one.extras["row"], other.extras["row"])


@each_kind
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4), (1, 2, 3, 4)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_pairs_keep_shape_dtype_and_what_belongs_to_each_sample(kind, shape, dtype):
    given = batches(shape, dtype)
    found = list(made(kind, shape).pairs(given))
    assert [len(p.samples) for p in found] == [7, 9, 14]
    for pairs, batch in zip(found, given, strict=True):
        assert pairs.noise.shape == pairs.samples.shape == batch.samples.shape
        assert pairs.noise.dtype == pairs.samples.dtype == dtype
        rows = pairs.extras["row"]
        assert torch.equal(pairs.samples, data(shape)[rows].to(dtype))
        if not kind.startswith("semidiscrete"):  # which chooses the samples itself
            assert torch.equal(rows, batch.extras["row"])
        if kind != "semidiscrete":
            assert torch.equal(pairs.extras["label"], batch.extras["label"])
            assert torch.equal(pairs.extras["label"], LABELS[rows])


@each_kind
def test_the_global_generator_and_the_samples_are_left_alone(kind):
    before, given = torch.get_rng_state(), batches()
    list(made(kind).pairs(given))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a.samples, b.samples) for a, b in zip(given, batches(), strict=True))


@each_kind
def test_samples_may_require_gradients(kind):
    given = [b._replace(samples=b.samples.clone().requires_grad_()) for b in batches()]
    found = list(made(kind).pairs(given))
    assert_same(found, list(made(kind).pairs(batches())))
    assert not any(pairs.noise.requires_grad for pairs in found)


@each_kind
def test_noise_depends_on_the_seed(kind):
    one, same, other = (list(made(kind, seed=s).pairs(batches())) for s in (3, 3, 4))
    assert_same(one, same)
    differ = [not torch.equal(a.noise, b.noise) for a, b in zip(one, other, strict=True)]
    assert all(differ) if kind not in GIVEN else not any(differ)


@each_kind
@pytest.mark.parametrize("handed_out", [0, 1, 2])
def test_a_loaded_state_continues_identically(kind, handed_out):
    expected = list(made(kind).pairs(batches()))
    source, original, copy = iter(batches()), made(kind), made(kind)
    stream = original.pairs(source)
    first = [next(stream) for _ in range(handed_out)]
    state = saved_and_loaded(original.state_dict())
    rest = list(source)
    for _ in range(2):  # matching does not change the state
        copy.load_state_dict(state)
        assert_same(first + list(copy.pairs(rest)), expected)


@each_kind
def test_a_state_of_any_other_coupling_is_refused(kind):
    others = [made(other) for other in KINDS if other != kind and not {kind, other} <= GIVEN]
    others.append(made(kind, seed=4))
    for other in others:
        with pytest.raises(ValueError, match=r"state of another coupling: expected .*, found"):
            made(kind).load_state_dict(other.state_dict())


def bad_batches():
    x, extras = data()[:3], {"row": torch.arange(3), "label": torch.zeros(3, dtype=torch.int64)}
    yield "nan", Batch(torch.full_like(x, torch.nan), extras), "found NaN or infinity"
    for value in (torch.inf, -torch.inf):
        bad = x.clone()
        bad[2, 1, 1] = value
        yield f"{value}", Batch(bad, extras), "found NaN or infinity"
    none = {key: rows[:0] for key, rows in extras.items()}
    yield "empty", Batch(x[:0], none), r"non-empty batch .*found shape \(0, 2, 3\)"
    yield "flat", Batch(x[:, 0, 0], extras), r"non-empty batch .*found shape \(3,\)"
    yield "integers", Batch(x.long(), extras), "of floats, found .*torch.int64"
    yield "shape", Batch(x.flatten(1), extras), r"expected shape \(n, 2, 3\).*, found \(3, 6\)"
    short = {**extras, "label": extras["label"][:2]}
    yield "extra", Batch(x, short), "extras: expected 3 rows of 'label', found 2"


@each_kind
@pytest.mark.parametrize(
    ("bad", "found"), [pytest.param(*case, id=id) for id, *case in bad_batches()]
)
def test_unsuitable_batches_are_refused_and_change_nothing(kind, bad, found):
    given, coupling, pairs = batches(), made(kind), []
    with pytest.raises(ValueError, match=found):
        for one in coupling.pairs([given[0], bad]):
            pairs.append(one)
    pairs += coupling.pairs(given[1:])
    assert_same(pairs, list(made(kind).pairs(given)))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.endswith("per class")])
@pytest.mark.parametrize(
    ("label", "found"),
    [
        (None, r"expected extras\['label'\], each sample's class, found extras \['row'\]"),
        (torch.zeros(3), r"extras\['label'\]: expected shape \(3,\) of integers, .*float32"),
        (torch.zeros(3, 1, dtype=torch.int64), r"of integers, found \(3, 1\) of torch.int64"),
        (torch.ones(3, dtype=torch.bool), "of integers, found .* of torch.bool"),
    ],
    ids=["missing", "floats", "2-d", "truth"],
)
def test_unsuitable_labels_are_refused(kind, label, found):
    extras = {"row": torch.arange(3)} | ({} if label is None else {"label": label})
    with pytest.raises(ValueError, match=found):
        next(made(kind).pairs([Batch(data()[:3], extras)]))


@pytest.mark.parametrize("name", COUPLINGS)
def test_couplings_are_made_by_name(name):
    coupling = made(name)
    kind = COUPLINGS[name].load()
    assert type(coupling) is kind
    state = coupling.state_dict()
    assert state["name"] == ("paired" if name in GIVEN else name)
    assert (state["match_size"], state["seed"]) == (MATCH_SIZES.get(name, 0), 3)
    if name in GIVEN:
        with pytest.raises(ValueError, match=f"labels 'label': {name} looks its pairs up"):
            make_coupling(name, labels="label")
    else:
        within = made(f"{name} per class")
        online = issubclass(kind, OnlineCoupling)
        assert type(within) is (PerClass if online else kind)
        assert within.state_dict()["labels"] == "label"


def test_entries_say_what_their_couplings_must_be_given():
    assert {name: sorted(e.needs) for name, e in COUPLINGS.items() if e.needs} == NEEDED


def test_every_public_name_can_be_imported():
    from dansm import couplings

    assert {"make_coupling", "Greedy", "Potentials", "fit_potentials"} <= set(couplings.__all__)
    assert set(couplings.__all__) <= set(dir(couplings))
    assert all(hasattr(couplings, name) for name in couplings.__all__)
    with pytest.raises(AttributeError, match=r"'dansm\.couplings' has no attribute 'Nearest'"):
        _ = couplings.Nearest


@pytest.mark.parametrize("name", NEEDED)
def test_what_a_coupling_must_know_has_no_default(name):
    with pytest.raises(ValueError, match=rf"{name}: expected the options \['{NEEDED[name][0]}'"):
        make_coupling(name)


@pytest.mark.parametrize("name", MATCH_SIZES)
@pytest.mark.parametrize("labels", [None, "label"])
def test_match_sizes_have_no_default_where_one_is_needed(name, labels):
    with pytest.raises(ValueError, match=f"match_size 0: {name} takes"):
        make_coupling(name, labels=labels)


def test_options_reach_the_coupling():
    assert make_coupling("immiscible", quantized=True).quantized
    coupling = make_coupling("minibatch_ot", method="sinkhorn", regularisation=0.3)
    assert (coupling.method, coupling.regularisation) == ("sinkhorn", 0.3)
    within = make_coupling("immiscible", labels="label", quantized=True)
    assert within.state_dict()["quantized"]


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


def test_an_unknown_coupling_is_refused():
    with pytest.raises(ValueError, match=r"'nearest'; expected one of \['greedy', 'hungarian'"):
        make_coupling("nearest")
