"""Couplings in somebody else's loop: global state, processes, types and memory of all kinds."""

import copy
import multiprocessing
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from dansm.couplings import Batch, OnlineCoupling, Potentials, base, fit_potentials, make_coupling
from dansm.randomness import image_noises

from .test_couplings import (
    LABELS,
    assert_same,
    batches,
    data,
    each_kind,
    made,
    saved_and_loaded,
)


@contextmanager
def changed(get, change, value):
    before = get()
    change(value)
    try:
        yield
    finally:
        change(before)


def default_dtype(dtype):
    return changed(torch.get_default_dtype, torch.set_default_dtype, dtype)


SURROUNDINGS = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no gradients": torch.no_grad,
    "anomaly detection": torch.autograd.detect_anomaly,
    "default double": lambda: default_dtype(torch.float64),
    "default half": lambda: default_dtype(torch.bfloat16),
    "default device": lambda: changed(lambda: None, torch.set_default_device, "meta"),
    "device context": lambda: torch.device("meta"),
    "deterministic": lambda: changed(
        torch.are_deterministic_algorithms_enabled, torch.use_deterministic_algorithms, True
    ),
    "numpy raises": lambda: np.errstate(all="raise"),
}
each_surrounding = pytest.mark.parametrize("surrounding", SURROUNDINGS)


@each_kind
@each_surrounding
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_pairs_are_the_same_whatever_the_global_state(kind, surrounding):
    given, expected = batches(), list(made(kind).pairs(batches()))
    with SURROUNDINGS[surrounding]():
        assert_same(list(made(kind).pairs(given)), expected)
    # Made outside, used inside, and the other way round; a state too.
    for outside in (nullcontext, SURROUNDINGS[surrounding]):
        inside = SURROUNDINGS[surrounding] if outside is nullcontext else nullcontext
        source = iter(given)
        with outside():
            coupling, other = made(kind), made(kind)
            stream = coupling.pairs(source)
            found = [next(stream)]
        with inside():
            found.append(next(stream))
            state = saved_and_loaded(coupling.state_dict())
        with outside():
            other.load_state_dict(state)
        with inside():
            found += other.pairs(list(source))
        assert_same(found, expected)
        assert not any(pairs.noise.is_inference() for pairs in found)


@each_surrounding
@pytest.mark.filterwarnings("ignore:Anomaly Detection")
def test_a_fit_and_the_noises_of_images_are_the_same_whatever_the_global_state(surrounding):
    options = {"seed": 1, "steps": 5, "batch_size": 16, "progress": False, "metric": "covariance"}
    expected, noises = fit_potentials(data(), classes=LABELS, **options), image_noises(3, 2, (4,))
    with SURROUNDINGS[surrounding]():
        found = fit_potentials(data(), classes=LABELS, **options)
        assert torch.equal(image_noises(3, 2, (4,)), noises)
    assert torch.equal(found.values, expected.values) and found.evenness == expected.evenness


@each_kind
def test_samples_may_be_made_in_inference_mode(kind):
    with torch.inference_mode():
        given = [
            Batch(b.samples.clone(), {k: v.clone() for k, v in b.extras.items()}) for b in batches()
        ]
    assert_same(list(made(kind).pairs(given)), list(made(kind).pairs(batches())))


def loader(work):
    return DataLoader(
        list(data()), 4, num_workers=1, collate_fn=lambda rows: work(Batch(torch.stack(rows)))
    )


@pytest.mark.parametrize("name", ["greedy", "hungarian", "independent", "immiscible", "knn"])
def test_workers_of_a_data_loader_are_refused(name):
    size = {"greedy": 10, "hungarian": 4, "knn": 2}.get(name, 0)
    coupling = make_coupling(name, match_size=size)
    with pytest.raises(RuntimeError, match=f"{name}: made in another process"):
        next(iter(loader(lambda batch: list(coupling.pairs([batch])))))
    # What a process makes for itself is its own.
    own = loader(lambda batch: next(make_coupling(name, match_size=size).pairs([batch])).noise)
    assert [len(noise) for noise in own] == [4] * 6


@each_kind
def test_another_process_is_refused_whatever_the_coupling(kind):
    coupling = made(kind)
    fork = multiprocessing.get_context("fork")
    receive, send = fork.Pipe()

    def work():
        try:
            send.send(list(coupling.pairs(batches())))
        except RuntimeError as error:
            send.send(str(error))

    child = fork.Process(target=work)
    child.start()
    assert "would hand out the same noises" in receive.recv()
    child.join()
    # Copies in one process are their owner's business.
    assert_same(list(copy.deepcopy(coupling).pairs(batches())), list(made(kind).pairs(batches())))


@pytest.mark.parametrize("number", [np.int64, np.int32, np.uint8, np.array, torch.tensor])
def test_whole_numbers_of_any_type_are_taken_and_kept_as_python_s(number):
    options = [
        ("greedy", {"match_size": number(5), "block_elements": number(9), "pool_bytes": number(0)}),
        ("hungarian", {"match_size": number(5)}),
        ("knn", {"match_size": number(5)}),
        ("loom", {"count": number(24), "shape": (number(2), number(3)), "stored": number(2)}),
        ("immiscible", {"quantized": np.bool_(True)}),
        ("minibatch_ot", {"method": np.str_("sinkhorn"), "regularisation": np.float64(0.05)}),
        ("greedy", {"match_size": number(5), "labels": np.str_("label")}),
    ]
    for name, given in options:
        plain = {
            key: tuple(int(side) for side in value) if key == "shape" else value.item()
            for key, value in given.items()
            if key != "shape"
        }
        if "shape" in given:
            plain["shape"] = (2, 3)
        found = make_coupling(name, seed=number(3), **given)
        expected = make_coupling(name, seed=3, **plain)
        assert_same(list(found.pairs(batches())), list(expected.pairs(batches())))
        state = saved_and_loaded(found.state_dict())
        expected.load_state_dict(state)
        assert {type(value) for key, value in state.items() if key != "progress"} <= {
            int,
            str,
            bool,
            float,
            tuple,
            type(None),
        }


def test_numbers_of_a_fit_may_be_of_any_type(tmp_path):
    fitted = fit_potentials(
        data(), seed=np.int64(1), steps=np.int64(3), batch_size=np.int32(8), progress=False
    )
    fitted.save(tmp_path / "potentials.npz")
    assert Potentials.load(tmp_path / "potentials.npz").steps == 3
    same = fit_potentials(data(), seed=1, steps=3, batch_size=8, progress=False)
    assert torch.equal(fitted.values, same.values)


@pytest.mark.parametrize("bad", [2.0, "5", None, np.float32(7), [5]])
def test_what_is_no_whole_number_is_refused(bad):
    for options in ({"match_size": bad}, {"match_size": 5, "seed": bad}):
        with pytest.raises(ValueError, match=r"(match_size|seed) .*: .* a whole number"):
            make_coupling("greedy", **options)
    for option in ("count", "stored"):
        with pytest.raises(ValueError, match=f"{option} .*: loom expects a whole number"):
            make_coupling("loom", **{"count": 3, "shape": (2,), option: bad})


def strange():
    x, row = data()[:3], {"row": torch.arange(3), "label": torch.zeros(3, dtype=torch.int64)}
    yield "numpy", Batch(x.numpy(), row), r"samples: expected a tensor, found numpy\.ndarray"
    yield "list", Batch(x.tolist(), row), "samples: expected a tensor, found list"
    yield "nothing", Batch(None, row), "samples: expected a tensor, found NoneType"
    yield "zero dimensions", Batch(torch.zeros(3, 0), row), r"non-empty batch .*\(3, 0\)"
    yield "zero in the middle", Batch(torch.zeros(3, 0, 2), row), r"non-empty batch .*\(3, 0, 2\)"
    yield "complex", Batch(x.to(torch.complex64), row), "of floats, found .*complex64"
    yield "8 bits", Batch(x.to(torch.float8_e4m3fn), row), "of floats, found .*float8"
    yield "truth", Batch(x > 0, row), "of floats, found .*bool"
    yield "sparse", Batch(x.flatten(1).to_sparse(), row), "expected a dense tensor .*sparse"
    yield "meta", Batch(x.to("meta"), row), "expected a dense tensor with values, found a meta"
    yield "a tensor alone", x, r"batches: expected dansm\.couplings\.Batch, found torch\.Tensor"
    for extra in ([0, 0, 0], np.zeros(3, int), None):
        yield (
            f"extra {extra}",
            Batch(x, {**row, "label": extra}),
            r"extras\['label'\]: expected a t",
        )
    yield "number", Batch(x, {**row, "label": torch.tensor(1)}), "expected 3 rows of 'label', found"


@each_kind
@pytest.mark.parametrize(("bad", "found"), [pytest.param(*c, id=i) for i, *c in strange()])
def test_strange_batches_are_refused_and_change_nothing(kind, bad, found):
    given, coupling, pairs = batches(), made(kind), []
    with pytest.raises(ValueError, match=found):
        for one in coupling.pairs([given[0], bad]):
            pairs.append(one)
    pairs += coupling.pairs(given[1:])
    assert_same(pairs, list(made(kind).pairs(given)))
    if isinstance(coupling, OnlineCoupling) and found.startswith("samples"):
        with pytest.raises(ValueError, match="samples: expected"):
            coupling.match(bad.samples)


def test_strange_datasets_are_refused():
    x = data()
    for bad in (x.numpy(), torch.zeros(24, 0), x.to_sparse(), None):
        with pytest.raises(ValueError, match=r"(samples|noise): expected"):
            fit_potentials(bad, seed=0, progress=False)
        with pytest.raises(ValueError, match=r"(samples|noise): expected"):
            make_coupling("paired", noise=bad, samples=bad)
    with pytest.raises(ValueError, match="classes: expected a tensor, found numpy"):
        fit_potentials(x, seed=0, classes=LABELS.numpy(), progress=False)


# Memory.


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with 8 GB left, and control groups of one's own."""
    monkeypatch.setattr(base, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(base, "_CGROUPS", tmp_path / "cgroup")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:   8000000 kB\n")

    def group(line, folder, files):
        (tmp_path / "proc/self/cgroup").write_text(f"{line}\n")
        path = tmp_path / "cgroup" / folder
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (path / name).write_text(f"{content}\n")

    return group


MAX, ALL = 1024 * 8_000_000, 2**63 - 4096
V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
V2 = ("memory.max", "memory.current", "memory.stat")


@pytest.mark.parametrize(
    ("line", "folder", "names", "values", "expected"),
    [
        ("0::/job/step", "job/step", V2, (1000, 900, "inactive_file 50"), 150),
        ("0::/job/step", "job", V2, (1000, 900, "file 700\ninactive_file 50"), 150),  # above it
        ("0::/", "", V2, (1000, 900, ""), 100),  # a container
        ("0::/", "", V2, ("max", 900, ""), MAX),
        ("0::/", "", V2, (10**12, 900, ""), MAX),
        ("0::/", "", V2, (1000, 1200, ""), 0),
        ("4:memory:/slurm/job_1", "memory/slurm/job_1", V1, (1000, 900, ""), 100),
        ("4:memory:/slurm/job_1", "memory/slurm", V1, (1000, 900, "total_inactive_file 5"), 105),
        ("9:cpu,memory:/docker/12", "memory", V1, (1000, 900, ""), 100),  # seen from inside
        ("4:memory:/", "memory", V1, (ALL, 900, ""), MAX),
        ("4:cpu:/job", "job", V2, (1000, 900, ""), MAX),
        ("1:name=systemd:/", "job", V2, (1000, 900, ""), MAX),
    ],
)
def test_limits_of_jobs_and_containers_count(machine, line, folder, names, values, expected):
    machine(line, folder, dict(zip(names, values, strict=True)))
    assert base.free_memory(torch.device("cpu")) == expected


def test_without_control_groups_the_machine_s_memory_counts(machine, tmp_path):
    assert base.free_memory(torch.device("cpu")) == MAX
    (tmp_path / "proc/meminfo").unlink()
    assert base.free_memory(torch.device("cpu")) > 2**28


@pytest.mark.parametrize(
    ("name", "size", "n", "d", "found"),
    [
        ("greedy", 10**6, 4, 100, "a pool of 100 dimensions needs 0.4 GiB"),
        ("hungarian", 10**6, 4, 100, r"a set of shape \(100,\) needs 0.7 GiB"),
        ("hungarian", 6000, 6000, 2, "a set of 6000 needs 0.4 GiB"),
        ("independent", 0, 10**5, 100, "a batch of 100000 samples of 100 dimensions needs 0.1 GiB"),
        ("immiscible", 0, 6000, 2, "a batch of 6000 samples of 2 dimensions needs 0.5 GiB"),
        ("minibatch_ot", 0, 6000, 2, "a batch of 6000 samples of 2 dimensions needs 1.6 GiB"),
        ("knn", 2, 10**5, 100, "a batch of 100000 samples of 100 dimensions needs 0.1 GiB"),
    ],
)
def test_what_the_memory_cannot_hold_is_refused_before_work(machine, name, size, n, d, found):
    machine("0::/", "", {"memory.max": 2**26, "memory.current": 0})
    coupling = make_coupling(name, match_size=size)
    with pytest.raises(ValueError, match=rf"{found}, found 0.1 GiB of free memory"):
        list(coupling.pairs([Batch(torch.zeros(1, 1).expand(n, d))]))


def test_datasets_that_the_memory_cannot_hold_are_refused_before_work(machine):
    machine("0::/", "", {"memory.max": 2**26, "memory.current": 0})
    with pytest.raises(ValueError, match=r"loom: 10000000×2 noises needs 0\.1 GiB, found"):
        make_coupling("loom", count=10**7, shape=(3,), stored=2)
    with pytest.raises(ValueError, match=r"a batch of 1000000 needs 0\.1 GiB, found"):
        fit_potentials(data(), seed=0, batch_size=10**6, progress=False)
