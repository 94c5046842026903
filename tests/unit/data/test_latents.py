import signal
import subprocess
import sys
import time
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from dansm.data.latents import Encoding, Posterior, write_latents
from dansm.data.store import open_store
from dansm.errors import InputError

LABELS = np.array([2, 7, 1, 8])

# A module of its own, which other processes can import.
TOY = '''
import time
import torch
from dansm.data.latents import Posterior

class Toy:
    """Means of 4 × 4 patches, and a tenth of their distance from 1."""

    def __init__(self, device, pause=0.0, posterior=True):
        self.description = {"source": "toy", "pause": 0}
        self.pause, self.posterior = pause, posterior

    def encode(self, images):
        time.sleep(self.pause)
        mean = torch.nn.functional.avg_pool2d(images, 4)
        return Posterior(mean, (1 - mean) / 10 if self.posterior else None)

    def decode(self, latents):
        return torch.nn.functional.interpolate(latents, scale_factor=4)

def load(pause, device):
    return Toy(device, pause)
'''


@pytest.fixture
def toy(tmp_path, monkeypatch):
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "toy_autoencoder.py").write_text(TOY)
    monkeypatch.syspath_prepend(folder)
    import toy_autoencoder

    yield toy_autoencoder
    del sys.modules["toy_autoencoder"]


@pytest.fixture
def store(make_store, colour_images):
    return make_store(colour_images, (0, 255), LABELS)


def write(store, path, load, processes=1, **changes):
    settings = {"shape": (3, 4, 4), "work": path.parent / "work", "shard_images": 3}
    encoding = Encoding(store.path, load, **(settings | changes))
    write_latents(encoding, path, path.parent / "decoding.csv", processes)


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize("shard_images", [1, 3, 4, 100])
def test_latents_are_the_encoded_images_in_half_precision(
    store, colour_images, toy, tmp_path, shard_images
):
    write(store, tmp_path / "l", toy.Toy, shard_images=shard_images)
    latents = open_store(tmp_path / "l")
    scaled = colour_images.astype(np.float64) / 127.5 - 1
    expected = scaled.reshape(4, 3, 4, 4, 4, 4).mean(axis=(3, 5))
    assert latents.array.dtype == np.float16 and latents.value_range is None
    np.testing.assert_allclose(latents.array, expected, atol=1e-3)
    np.testing.assert_array_equal(latents.labels, LABELS)
    assert latents.meta["source"] == f"{store.path} encoded by toy"
    assert (latents.meta["licence"], latents.meta["autoencoder"]["source"]) == ("none", "toy")
    assert latents.meta["pixels_sha256"] == store.meta["sha256"]
    assert set(latents.parts) == {"array"}
    assert len(list((tmp_path / "l").glob("array-*.npy"))) == -(-4 // shard_images)
    assert not (tmp_path / "work").exists()


def test_deviations_and_mirrored_images_are_kept_where_asked(store, colour_images, toy, tmp_path):
    write(store, tmp_path / "l", toy.Toy, posterior=True, mirrored=True)
    latents = open_store(tmp_path / "l")
    means = {
        name: (images.astype(np.float64) / 127.5 - 1).reshape(4, 3, 4, 4, 4, 4).mean(axis=(3, 5))
        for name, images in (("array", colour_images), ("mirrored", colour_images[..., ::-1]))
    }
    assert set(latents.parts) == {"array", "deviation", "mirrored", "mirrored_deviation"}
    np.testing.assert_allclose(latents.parts["mirrored"], means["mirrored"], atol=1e-3)
    np.testing.assert_allclose(latents.parts["deviation"], (1 - means["array"]) / 10, atol=1e-3)
    np.testing.assert_allclose(
        latents.parts["mirrored_deviation"], (1 - means["mirrored"]) / 10, atol=1e-3
    )


def test_the_decoding_check_is_the_psnr_of_stored_latents(
    store, colour_images, toy, tmp_path, capsys
):
    write(store, tmp_path / "l", toy.Toy)
    table = pd.read_csv(tmp_path / "decoding.csv")
    scaled = colour_images.astype(np.float64) / 127.5 - 1
    decoded = np.array(open_store(tmp_path / "l").array).astype(np.float64)
    decoded = decoded.repeat(4, axis=2).repeat(4, axis=3)
    psnr = 10 * np.log10(4 / np.square(decoded - scaled).mean(axis=(1, 2, 3)))
    assert table["image"].tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(table["psnr_db"], psnr, atol=1e-4)
    meta = open_store(tmp_path / "l").meta["decoding"]
    assert meta["images"] == 4
    assert meta["psnr_db_mean"] == pytest.approx(psnr.mean(), abs=1e-4)
    assert meta["psnr_db_lowest"] == pytest.approx(psnr.min(), abs=1e-4)
    log = capsys.readouterr().out
    assert f"PSNR {psnr.mean():.2f} dB" in log
    assert "encoded 4 images on cpu" in log and "images/s" in log


KILLED = """
import sys
from functools import partial
from pathlib import Path
from toy_autoencoder import load
from dansm.data.latents import Encoding, write_latents
store, folder, pause = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
write_latents(
    Encoding(store, partial(load, pause), (3, 4, 4), folder / "work", True, True, 1),
    folder / "l",
    folder / "decoding.csv",
)
"""


def test_killed_twice_it_ends_with_the_same_bytes(store, toy, tmp_path):
    def start(folder, pause):
        return subprocess.Popen(
            [sys.executable, "-c", KILLED, store.path, folder, str(pause)],
            env={"PYTHONPATH": ":".join(sys.path)},
            stdout=subprocess.PIPE,
            text=True,
        )

    (tmp_path / "once").mkdir()
    assert start(tmp_path / "once", 0).wait() == 0
    folder = tmp_path / "killed"
    for shards in (1, 2):
        process = start(folder, 0.5)
        deadline = time.monotonic() + 60
        while len(list(folder.glob("work/array-*.npy"))) < shards:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    # A shard is finished when its digests are written, after its arrays.
    done = len(list(folder.glob("work/[0-9]*.sha256")))
    last = start(folder, 0)
    log = last.communicate()[0]
    assert last.returncode == 0 and 0 < done < 4
    assert f"encoded {4 - done} images" in log and f"{done} had been encoded before" in log
    assert contents(folder / "l") == contents(tmp_path / "once" / "l")
    assert (folder / "decoding.csv").read_bytes() == (
        tmp_path / "once" / "decoding.csv"
    ).read_bytes()


class Stopped(Exception):  # noqa: N818
    pass


def stopping(toy, after):
    """An autoencoder that fails after so many calls, as on a machine that goes down."""
    calls = []

    class Stopping(toy.Toy):
        def encode(self, images):
            calls.append(len(images))
            if len(calls) > after:
                raise Stopped
            return super().encode(images)

    return Stopping


@pytest.mark.parametrize("change", ["shape of a shard", "parts", "autoencoder", "images"])
def test_shards_of_another_encoding_are_not_used(
    store, make_store, colour_images, toy, tmp_path, change
):
    with pytest.raises(Stopped):
        write(store, tmp_path / "l", stopping(toy, 2))
    assert (tmp_path / "work" / "array-00000.npy").exists()
    options, load = {}, toy.Toy
    if change == "shape of a shard":
        options = {"shard_images": 2}
    elif change == "parts":
        options = {"mirrored": True}
    elif change == "images":
        store = make_store(255 - colour_images, (0, 255), LABELS, name="others")
    else:

        class Other(toy.Toy):
            def __init__(self, device):
                super().__init__(device)
                self.description = {"source": "other"}

            def encode(self, images):
                return Posterior(-super().encode(images).mean, None)

        load = Other
    write(store, tmp_path / "l", load, **options)
    (tmp_path / "fresh").mkdir()
    write(store, tmp_path / "fresh" / "l", load, **options)
    assert contents(tmp_path / "l") == contents(tmp_path / "fresh" / "l")


def test_several_processes_give_the_same_store(store, toy, tmp_path, monkeypatch, capfd):
    write(store, tmp_path / "l", partial(toy.load, 0.0), shard_images=1)
    (tmp_path / "two").mkdir()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    write(store, tmp_path / "two" / "l", partial(toy.load, 0.0), processes=4, shard_images=1)
    assert contents(tmp_path / "two" / "l") == contents(tmp_path / "l")
    log = capfd.readouterr()
    assert "encoded 4 images on cuda:0, cuda:1" in log.out
    # Each of them did half of the shards.
    for device in ("cuda:0", "cuda:1"):
        assert f"encoding on {device}: 100%" in log.err and "2/2" in log.err


@pytest.mark.parametrize(
    ("change", "shape", "message"),
    [
        (lambda z: z, (4, 4, 4), r"expects latents of shape \(4, 4, 4\), found \(3, 4, 4\)"),
        (lambda z: z * float("nan"), (3, 4, 4), "expected finite values, found NaN or infinity"),
        (lambda z: z + 1e6, (3, 4, 4), "expected finite values, found NaN or infinity"),
    ],
    ids=["shape", "nan", "beyond half precision"],
)
def test_unsuitable_latents_are_refused(store, toy, tmp_path, change, shape, message):
    class Changed(toy.Toy):
        def encode(self, images):
            return Posterior(change(super().encode(images).mean), None)

    with pytest.raises(InputError, match=message):
        write(store, tmp_path / "lat", Changed, shape=shape)
    assert not (tmp_path / "lat").exists()


def test_what_cannot_work_is_known_after_one_image(store, toy, tmp_path):
    class Counting(toy.Toy):
        images = 0

        def encode(self, images):
            Counting.images += len(images)
            return super().encode(images)

    with pytest.raises(InputError, match=r"found \(3, 4, 4\)"):
        write(store, tmp_path / "l", Counting, shape=(4, 4, 4))
    assert Counting.images == 1 and not (tmp_path / "work").exists()


def test_an_autoencoder_without_posterior_gives_no_deviations(store, toy, tmp_path):
    load = partial(toy.Toy, posterior=False)
    with pytest.raises(InputError, match="posterior sample needs an AutoencoderKL"):
        write(store, tmp_path / "l", load, posterior=True)
    write(store, tmp_path / "l", load)
    assert not open_store(tmp_path / "l").has_posterior


def test_images_that_the_autoencoder_cannot_take_are_named(make_store, toy, tmp_path):
    class Colour(toy.Toy):
        def encode(self, images):
            return super().encode(torch.nn.Conv2d(3, 3, 1)(images))

    grey = make_store(np.zeros((2, 1, 16, 16), np.uint8), (0, 255))
    with pytest.raises(InputError, match=r"toy: expected an autoencoder for .*\(1, 16, 16\)"):
        write(grey, tmp_path / "l", Colour)
