import hashlib
import json

import numpy as np
import pytest
import torch

from dansm.data.store import open_store, write_store
from dansm.errors import InputError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
LATENTS = RNG.standard_normal((5, 4, 2, 2)).astype(np.float16)
LABELS = np.array([3, 1, 4, 1, 5])


def write(path, blocks, **changes):
    first = blocks[0]
    settings = {
        "count": sum(len(block) for block in blocks),
        "shape": first.shape[1:],
        "dtype": str(first.dtype),
        "value_range": None,
        "source": "a test",
        "licence": "none",
    }
    write_store(path, blocks, **(settings | changes))


def alter_meta(store, **changes):
    meta = json.loads((store.path / "meta.json").read_text())
    (store.path / "meta.json").write_text(json.dumps(meta | changes))


def alter_array(store, array):
    """Replace the array and make its checksum right again."""
    np.save(store.path / "array.npy", array)
    digest = hashlib.sha256((store.path / "array.npy").read_bytes()).hexdigest()
    alter_meta(store, sha256=digest)


@pytest.mark.parametrize(
    ("array", "value_range"), [(PIXELS, (0, 255)), (LATENTS, None)], ids=["pixels", "latents"]
)
@pytest.mark.parametrize("labels", [None, LABELS])
@pytest.mark.parametrize("parts", [[5], [2, 3], [1] * 5])
def test_round_trip(tmp_path, array, value_range, labels, parts):
    blocks = np.split(array, np.cumsum(parts)[:-1])
    write(tmp_path / "s", blocks, value_range=value_range, labels=labels)
    store = open_store(tmp_path / "s")
    assert len(store) == 5 and store.array.dtype == array.dtype
    np.testing.assert_array_equal(store.array, array)
    assert isinstance(store.array, np.memmap)
    assert store.value_range == value_range
    assert (store.meta["source"], store.meta["licence"]) == ("a test", "none")
    if labels is None:
        assert store.labels is None
    else:
        np.testing.assert_array_equal(store.labels, labels)
        assert store.labels.dtype == np.int64


@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4], [3, 3, 0]])
def test_batches_are_scaled_to_the_models_range(make_store, rows):
    rows = np.array(rows)
    found = make_store(PIXELS, (0, 255)).batch(rows)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, PIXELS[rows] / 127.5 - 1, atol=1e-6)
    latents = make_store(LATENTS, name="latents").batch(rows)
    assert latents.dtype == torch.float32
    np.testing.assert_array_equal(latents, LATENTS[rows].astype(np.float32))


@pytest.mark.parametrize("value_range", [(0, 255), (0, 16)])
def test_every_stored_value_survives_the_models_range(make_store, value_range):
    values = np.arange(value_range[1] + 1, dtype=np.uint8).reshape(-1, 1, 1, 1)
    store = make_store(values, value_range)
    images = store.batch(np.arange(len(values)))
    assert (images.min(), images.max()) == (-1, 1)
    np.testing.assert_array_equal(store.to_stored_range(images), values)


def test_images_are_clipped_and_rounded(make_store):
    store = make_store(np.array([0, 16], np.uint8).reshape(2, 1, 1, 1), (0, 16))
    images = torch.tensor([-3.0, -1.0, -0.95, -0.93, 0.0, 0.99, 7.0]).reshape(-1, 1, 1, 1)
    found = store.to_stored_range(images)
    assert found.dtype == torch.uint8
    assert found.flatten().tolist() == [0, 0, 0, 1, 8, 16, 16]


def test_latents_have_no_stored_range(make_store):
    store = make_store(LATENTS)
    with pytest.raises(InputError, match="expected a pixel store") as caught:
        store.to_stored_range(torch.zeros(1, 4, 2, 2))
    assert str(store.path) in str(caught.value)


def nan_at(array, where, value=np.nan):
    changed = array.copy()
    changed[where] = value
    return changed


@pytest.mark.parametrize(
    ("blocks", "changes", "message"),
    [
        ([nan_at(LATENTS, (3, 0, 0, 0))], {}, "samples 0 to 4: expected finite values, found NaN"),
        ([LATENTS, nan_at(LATENTS, (1, 0, 0, 0), np.inf)], {}, "samples 5 to 9: expected finite"),
        ([PIXELS], {"value_range": (0, 100)}, r"expected values in \[0, 100\], found \[\d+, 2"),
        ([-LATENTS], {"value_range": (0, 1)}, r"expected values in \[0, 1\], found \[-"),
        ([PIXELS], {"count": 6}, "expected 6 samples, found 5"),
        ([PIXELS], {"count": 4}, r"expected 4 samples .* found a block of shape \(5, 3, 4, 4\)"),
        ([PIXELS, PIXELS], {"count": 9}, "expected 9 samples .* after 5 samples"),
        ([PIXELS], {"shape": (1, 4, 4)}, r"shape \(1, 4, 4\), found .* \(5, 3, 4, 4\)"),
    ],
)
def test_unsuitable_blocks_are_refused_and_leave_no_file(tmp_path, blocks, changes, message):
    with pytest.raises(InputError, match=message) as caught:
        write(tmp_path / "s", blocks, **changes)
    assert str(tmp_path / "s") in str(caught.value)
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be writable") as caught:
        write(tmp_path / "file" / "s", [PIXELS])
    assert str(tmp_path / "file" / "s") in str(caught.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["array.npy", "labels.npy"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "expected a complete .npy file, found"),
        (flip, "expected sha256 [0-9a-f]{64} as in meta.json, found [0-9a-f]{64}"),
        (lambda path: path.write_bytes(b""), "expected a complete .npy file, found 0 bytes"),
        (lambda path: path.unlink(), "expected an array, found no file"),
    ],
    ids=["cut short", "flipped bit", "empty", "missing"],
)
def test_a_damaged_array_is_refused(make_store, name, damage, message):
    store = make_store(PIXELS, (0, 255), labels=LABELS)
    damage(store.path / name)
    with pytest.raises(InputError, match=message) as caught:
        open_store(store.path)
    assert str(store.path / name) in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (nan_at(LATENTS, (2, 0, 0, 0)), "expected finite values, found NaN"),
        (LATENTS[:4], r"expected shape \(5, 4, 2, 2\) .* found \(4, 4, 2, 2\)"),
        (LATENTS.astype(np.float32), "of float16 as in meta.json, found .* of float32"),
    ],
    ids=["nan", "count", "dtype"],
)
def test_an_altered_array_is_refused_even_with_the_right_checksum(make_store, array, message):
    store = make_store(LATENTS)
    alter_array(store, array)
    with pytest.raises(InputError, match=message) as caught:
        open_store(store.path)
    assert str(store.path / "array.npy") in str(caught.value)


def test_values_out_of_range_are_refused_even_with_the_right_checksum(make_store):
    store = make_store(np.full((2, 1, 2, 2), 16, np.uint8), (0, 16))
    alter_array(store, np.full((2, 1, 2, 2), 17, np.uint8))
    with pytest.raises(InputError, match=r"expected values in \[0, 16\], found \[17, 17\]"):
        open_store(store.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 6}, r"expected shape \(6, 3, 4, 4\) of uint8 .* found \(5, 3, 4, 4\)"),
        ({"shape": [3, 4, 5]}, r"expected shape \(5, 3, 4, 5\)"),
        ({"dtype": "int8"}, "of int8 as in meta.json, found .* of uint8"),
        ({"sha256": "0" * 64}, "expected sha256 0{64}"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(make_store, changes, message):
    store = make_store(PIXELS, (0, 255))
    alter_meta(store, **changes)
    with pytest.raises(InputError, match=message):
        open_store(store.path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "expected a JSON file, found none"),
        ("{", "expected valid JSON"),
        ('{"count": 5}', "expected keys .*'dtype', 'licence', 'sha256'"),
    ],
)
def test_a_missing_or_damaged_description_is_refused(make_store, text, message):
    store = make_store(PIXELS, (0, 255))
    (store.path / "meta.json").unlink()
    if text is not None:
        (store.path / "meta.json").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        open_store(store.path)
    assert str(store.path / "meta.json") in str(caught.value)


def test_a_wrong_number_of_labels_is_refused_when_written(tmp_path):
    with pytest.raises(InputError, match="5 labels"):
        write(tmp_path / "s", [PIXELS], labels=LABELS[:4])
