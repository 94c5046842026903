import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from dansm.data.pair_store import Trajectories, open_pairs, write_pairs
from dansm.errors import InputError

from ..factories import make_settings

SHAPE = (1, 4, 4)
TEACHER = make_settings().plain()
OF = {"source": "", "licence": "", "spent": {}}


def points_of(pairs, states=0):
    """Trajectories whose values tell pair and state."""
    rows = torch.arange(pairs.start, pairs.stop)[:, None] + torch.arange(2 + states) / 10
    return rows[:, :, None, None, None].expand(-1, -1, *SHAPE).float()


def write(folder, count=10, states=0, make=None, batch_size=4, **changes):
    identity = {"teacher": TEACHER, "run": "vanilla", "steps": 3, "count": count}
    identity |= {"states": states, "inverted": 0} | changes
    times = [k / (states + 1) for k in range(1, states + 1)]
    made = make or (lambda pairs: Trajectories(points_of(pairs, states), 3 + pairs.start))
    write_pairs(folder / "pairs", folder / "work", made, identity, times, batch_size, **OF)
    return open_pairs(folder / "pairs")


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("count", [1, 4, 10])
def test_pair_k_is_in_row_k_of_noise_and_sample(tmp_path, count):
    pairs = write(tmp_path, count)
    assert len(pairs) == count and pairs.noise.shape == pairs.samples.shape == (count, *SHAPE)
    expected = points_of(range(count))
    assert torch.equal(pairs.noise, expected[:, 0]) and torch.equal(pairs.samples, expected[:, 1])
    assert pairs.meta["times"] == []
    # Evaluations of the batches 0–3, 4–7, 8–9.
    nfe = [3 + k // 4 * 4 for k in range(count)]
    assert pairs.meta["nfe"] == pytest.approx(np.mean(nfe))
    assert pairs.meta["teacher"] == TEACHER and pairs.meta["count"] == count
    assert not (tmp_path / "work").exists()


def test_states_between_are_kept_with_their_times(tmp_path):
    pairs = write(tmp_path, states=3)
    assert torch.equal(pairs.points, points_of(range(10), 3))
    assert torch.equal(pairs.samples, points_of(range(10), 3)[:, -1])
    assert pairs.meta["times"] == [0.25, 0.5, 0.75]


def test_the_tensors_are_mapped_not_read(tmp_path):
    pairs = write(tmp_path)
    storage = pairs.points.untyped_storage()
    assert pairs.noise.untyped_storage().data_ptr() == storage.data_ptr()
    assert pairs.samples.untyped_storage().data_ptr() == storage.data_ptr()
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [
        [int(end, 16) for end in line[0].split("-")]
        for line in maps
        if line[-1].startswith(str(tmp_path))
    ]
    assert any(first <= storage.data_ptr() < last for first, last in spans)


def test_batches_are_whole_so_that_a_pair_does_not_depend_on_their_number(tmp_path):
    asked = []

    def make(pairs):
        asked.append(len(pairs))
        return Trajectories(points_of(pairs) + len(pairs) / 100, 1)

    few = write(tmp_path / "few", 6, make=make)
    many = write(tmp_path / "many", 10, make=make)
    assert set(asked) == {4} and torch.equal(few.noise, many.noise[:6])


KILLED = """
import sys, time
from pathlib import Path
import torch
from dansm.data.pair_store import Trajectories, write_pairs
folder, pause = Path(sys.argv[1]), float(sys.argv[2])
def make(pairs):
    time.sleep(pause)
    print(pairs.start, flush=True)
    rows = torch.arange(pairs.start, pairs.stop).view(-1, 1, 1, 1, 1)
    return Trajectories((rows + torch.arange(32).view(2, 1, 4, 4)).sin(), 5)
teacher = {"shape": [1, 4, 4], "dataset": "toy"}
identity = {"teacher": teacher, "run": "vanilla", "count": 11, "states": 0, "inverted": 0}
of = {"source": "", "licence": "", "spent": {}}
write_pairs(folder / "pairs", folder / "work", make, identity, [], 4, **of)
"""


def test_killed_twice_they_end_with_the_same_bytes(tmp_path):
    def start(folder, pause):
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, folder, str(pause)],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )

    assert start(tmp_path / "once", 0).wait() == 0
    folder = tmp_path / "killed"
    for batches in (1, 2):
        process = start(folder, 0.5)
        deadline = time.monotonic() + 60
        while len(list(folder.glob("work/[0-9]*.sha256"))) < batches:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / "pairs").exists()
    last = start(folder, 0)
    log = last.communicate()[0]
    assert last.returncode == 0 and log.split() == ["8"]
    assert contents(folder / "pairs") == contents(tmp_path / "once" / "pairs")


def test_batches_of_other_pairs_are_not_used(tmp_path):
    class Stopped(Exception):  # noqa: N818
        pass

    def stopping(pairs):
        if pairs.start:
            raise Stopped
        return Trajectories(points_of(pairs) - 100, 1)

    with pytest.raises(Stopped):
        write(tmp_path, make=stopping, steps=4)
    assert (tmp_path / "work" / "array-00000.npy").exists()
    assert torch.equal(write(tmp_path, steps=3).noise, points_of(range(10))[:, 0])


@pytest.mark.parametrize("name", ["array-00000.npy", "nfe-00001.npy", "00000.sha256"])
def test_a_finished_batch_that_was_changed_is_made_again(tmp_path, capsys, name):
    class Stopped(Exception):  # noqa: N818
        pass

    asked = []

    def make(pairs):
        asked.append(pairs.start)
        if pairs.start == 8 and len(asked) == 3:
            raise Stopped
        return Trajectories(points_of(pairs), 1)

    with pytest.raises(Stopped):
        write(tmp_path, make=make)
    path = tmp_path / "work" / name
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert torch.equal(write(tmp_path, make=make).points, points_of(range(10)))
    assert asked[3:] == [4 if "00001" in name else 0, 8]
    assert "was changed, it is made again" in capsys.readouterr().out


def test_pairs_of_another_teacher_or_sampler_are_refused(tmp_path):
    identity = {"teacher": TEACHER, "run": "vanilla", "steps": 3, "count": 10, "states": 0}
    identity["inverted"] = 0
    folder = tmp_path / "rk45-3-10"
    made = lambda pairs: Trajectories(points_of(pairs), 1)  # noqa: E731
    write_pairs(folder, tmp_path / "work", made, identity, [], 4, **OF)
    open_pairs(folder).check(student())
    other = make_settings(
        coupling={"teacher_pairs": {"teacher": "dansm", "sampler": "rk45", "count": 10, "steps": 3}}
    )
    with pytest.raises(InputError, match=r"pairs of teacher dansm as .* say, found vanilla"):
        open_pairs(folder).check(other)
    folder.rename(tmp_path / "heun-3-10")
    with pytest.raises(InputError, match=r"pairs of sampler heun-3-10 as .* say, found rk45-3-10"):
        open_pairs(tmp_path / "heun-3-10").check(student())


def test_pairs_that_are_not_finite_are_refused(tmp_path):
    def make(pairs):
        points = points_of(pairs).clone()
        points[pairs.start // 4] /= 0
        return Trajectories(points, 1)

    with pytest.raises(InputError, match="pairs 0 to 3, array: expected finite values"):
        write(tmp_path, make=make)


def test_a_disk_without_room_is_refused(tmp_path, monkeypatch):
    class Free:
        free = 10

    monkeypatch.setattr("dansm.io.files.shutil.disk_usage", lambda path: Free)
    with pytest.raises(InputError, match=r"pairs: expected .* GiB of free disk"):
        write(tmp_path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-4]), "expected a complete .npy file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\0"), "expected sha256"),
        (lambda path: path.unlink(), "expected an array, found no file"),
    ],
    ids=["cut", "altered", "missing"],
)
def test_damaged_pairs_are_refused(tmp_path, damage, message):
    write(tmp_path)
    damage(tmp_path / "pairs" / "array-00000.npy")
    with pytest.raises(InputError, match=rf"array-00000\.npy: {message}"):
        open_pairs(tmp_path / "pairs")


def test_only_stores_of_pairs_are_opened(tmp_path, make_store):
    store = make_store(np.zeros((2, 2, 4, 4), np.float32))
    with pytest.raises(InputError, match="expected a store of teacher pairs, found one of a test"):
        open_pairs(store.path)
    write(tmp_path)
    meta = tmp_path / "pairs" / "meta.json"
    content = json.loads(meta.read_text())
    content["pairs"]["teacher"]["shape"] = [3, 4, 4]
    meta.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"shape \(10, 2, 3, 4, 4\) .*, found \(10, 2, 1, 4, 4\)"):
        open_pairs(tmp_path / "pairs")


def student(**changes):
    options = {"teacher": "vanilla", "sampler": "rk45", "count": 10, "steps": 3}
    options |= {key: changes.pop(key) for key in ("count", "steps", "states") if key in changes}
    return make_settings(coupling={"teacher_pairs": options}, **changes)


def test_a_student_takes_the_pairs_that_it_asks_for(tmp_path):
    write(tmp_path).check(student())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (1, 8, 8)}, r"shape \[1, 8, 8\] as the student's .*, found \[1, 4, 4\]"),
        ({"seed": 1}, "seed 1 .*, found 0"),
        ({"dataset": "other"}, "dataset other .*, found toy"),
        ({"count": 11}, "count 11 .*, found 10"),
        ({"steps": 4}, "steps 4 .*, found 3"),
        ({"states": 2}, "states 2 .*, found 0"),
    ],
)
def test_pairs_that_a_student_does_not_ask_for_are_refused(tmp_path, changes, message):
    pairs = write(tmp_path)
    with pytest.raises(InputError, match=f"pairs: expected pairs of {message}"):
        pairs.check(student(**changes))
