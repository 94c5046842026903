import hashlib
import io
import pickle
import tarfile

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from dansm.config import Cifar10Source
from dansm.data.download import download
from dansm.data.sources import build_pixel_store
from dansm.data.store import open_store
from dansm.errors import InputError
from dansm.io.files import read_json

NAMES = ["airplane", "automobile", "bird"]


@pytest.fixture
def published(monkeypatch):
    """Return an archive in CIFAR-10's format, and its images and labels.

    torchvision is told the checksums of what is in it.
    """
    rng = np.random.default_rng(0)
    contents, images, labels = {}, [], []
    for name in [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]:
        batch = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
        ids = rng.integers(0, 3, 3).tolist()
        contents[name] = pickle.dumps({"data": batch, "labels": ids})
        if name != "test_batch":
            images.append(batch.reshape(3, 3, 32, 32))
            labels += ids
    contents["batches.meta"] = pickle.dumps({"label_names": NAMES})
    md5s = {name: hashlib.md5(content).hexdigest() for name, content in contents.items()}
    monkeypatch.setattr(
        CIFAR10, "train_list", [[f"data_batch_{k}", md5s[f"data_batch_{k}"]] for k in range(1, 6)]
    )
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5s["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5s["batches.meta"]})
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue(), np.concatenate(images), labels


def build(folder, path):
    build_pixel_store(Cifar10Source(kind="cifar10", folder=folder), (3, 32, 32), "", path)
    return open_store(path)


def test_the_archive_downloaded_in_pieces_becomes_a_store(tmp_path, published, file_server):
    archive, images, labels = published
    file_server.files["/cifar-10-python.tar.gz"] = archive
    file_server.faults.extend(np.random.default_rng(1).integers(1, len(archive) // 5, 5).tolist())
    path = tmp_path / "cifar10" / "cifar-10-python.tar.gz"
    checksum = f"md5:{hashlib.md5(archive).hexdigest()}"
    download(path, [file_server.address(path.name)], checksum, pause=0)
    assert len(file_server.requests) == 6
    store = build(tmp_path / "cifar10", tmp_path / "store")
    np.testing.assert_array_equal(store.array, images)
    assert store.labels.tolist() == labels and store.value_range == (0, 255)
    assert read_json(tmp_path / "store" / "classes.json") == NAMES
    # Nothing was unpacked beside the archive, whose folder may belong to someone else.
    assert {p.name for p in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_an_unpacked_folder_will_do(tmp_path, published):
    with tarfile.open(fileobj=io.BytesIO(published[0])) as archive:
        archive.extractall(tmp_path)
    np.testing.assert_array_equal(build(tmp_path, tmp_path / "store").array, published[1])
    (tmp_path / "cifar-10-batches-py" / "data_batch_3").unlink()
    with pytest.raises(InputError, match="cifar-10-batches-py: expected CIFAR-10's python version"):
        build(tmp_path, tmp_path / "store")


def test_what_is_missing_or_damaged_is_named(tmp_path, published):
    with pytest.raises(InputError, match=r"cifar-10-python\.tar\.gz or .*found neither") as caught:
        build(tmp_path, tmp_path / "store")
    assert str(caught.value).startswith(f"{tmp_path}: ")
    archive = tmp_path / "cifar-10-python.tar.gz"
    for content in (published[0][:-100], b"<html>", published[0][:2000] + b"x" * 100):
        archive.write_bytes(content)
        with pytest.raises(InputError, match=f"{archive}: expected"):
            build(tmp_path, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_another_archive_of_the_same_form_is_refused(tmp_path, published, monkeypatch):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(published[0])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", "0" * 32]])
    with pytest.raises(InputError, match="have other checksums"):
        build(tmp_path, tmp_path / "store")
