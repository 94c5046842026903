"""A dataset from a published zip to its store, as a user would, with a server that fails."""

import io
import zipfile

import lmdb
import numpy as np
import pytest
import yaml
from PIL import Image

from dansm.data.store import open_store
from dansm.io.files import read_json

NAME = "attic_train_lmdb"
RECORD = f"resources/downloads/attics/{NAME}.zip.json"


@pytest.fixture
def attics(tmp_path, project, file_server):
    """Serve a zip in LSUN's format; return its images and the site's configuration file."""
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    folder = tmp_path / NAME
    with lmdb.open(str(folder), map_size=2**22) as env, env.begin(write=True) as transaction:
        for k, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "WEBP", lossless=True)
            transaction.put(str(k).encode(), file.getvalue())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(folder / "data.mdb", f"{NAME}/data.mdb")
    file_server.files[f"/{NAME}.zip"] = packed.getvalue()
    source = {"kind": "lsun", "folder": "resources/lsun", "category": "attic_train"}
    site = {
        "datasets": {"attics": {"source": source, "shape": [3, 16, 16], "licence": "none"}},
        "mirrors": {"attics": [file_server.address()]},
    }
    (project.folder / "site.yaml").write_text(yaml.safe_dump(site))
    return images, site


def test_an_interrupted_download_becomes_a_store_and_other_mirrors_change_nothing(
    project, attics, file_server
):
    images, site = attics
    cuts = np.random.default_rng(1).integers(1, 5000, 5).tolist()
    file_server.faults.extend(cuts)
    store = "results/data/attics"
    project.succeeds(RECORD, "--configfile", "site.yaml")
    assert file_server.sent == len(file_server.files[f"/{NAME}.zip"])
    assert len(file_server.requests) == 6
    record = read_json(project.folder / RECORD)
    assert record["address"] == file_server.address(f"{NAME}.zip") and record["checksum"] is None
    log = project.folder / "results" / "logs" / "download" / "attics" / f"{NAME}.zip.log"
    assert f"no checksum is known; sha256 {record['sha256']}" in log.read_text()
    # Staged: from here on nobody asks the server.
    file_server.files.clear()
    project.succeeds(store, "--configfile", "site.yaml")
    np.testing.assert_array_equal(
        open_store(project.folder / store).array, images.transpose(0, 3, 1, 2)
    )
    site["mirrors"]["attics"] = ["file:/elsewhere"]
    site["datasets"]["attics"]["source"]["sha256"] = record["sha256"]
    (project.folder / "site.yaml").write_text(yaml.safe_dump(site))
    assert project.planned(store, "--configfile", "site.yaml") == {"download": 1}
    assert len(file_server.requests) == 6


def test_a_download_that_fails_is_one_line_of_its_log(project, attics, file_server, monkeypatch):
    # Where there is internet, too, the published address is not asked: our server answers for it.
    monkeypatch.setenv("http_proxy", file_server.address())
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    site = attics[1]
    site["datasets"]["attics"]["source"]["sha256"] = "0" * 64
    site["mirrors"]["attics"] = ["file:/nowhere", file_server.address()]
    (project.folder / "site.yaml").write_text(yaml.safe_dump(site))
    output = project.fails(RECORD, "--configfile", "site.yaml")
    (line,) = {line for line in output.splitlines() if line.startswith("error: ")}
    assert line.startswith(f"error: resources/lsun/{NAME}.zip: cannot be downloaded; ")
    assert f"file:/nowhere/{NAME}.zip: No such file or directory; " in line
    assert f"expected sha256 {'0' * 64}, found " in line
    assert f"lsun/scenes/{NAME}.zip: HTTP 404 Not Found" in line
    assert not (project.folder / "resources" / "lsun" / f"{NAME}.zip").exists()
    assert not (project.folder / RECORD).exists()
