import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import torch

from dansm.data.store import Shards, finish_store, open_store, write_store
from dansm.errors import InputError
from dansm.io.files import atomic_path
from dansm.io.records import recorded

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
LATENTS = RNG.standard_normal((5, 4, 2, 2)).astype(np.float16)
LABELS = np.array([3, 1, 4, 1, 5])
ARRAY = "array-00000.npy"


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


def joint(parts):
    lines = [f"{part} {shard['sha256']}" for part in sorted(parts) for shard in parts[part]]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def alter_array(store, array):
    """Replace the only shard and make its checksums right again."""
    np.save(store.path / ARRAY, array)
    parts = json.loads(json.dumps(store.meta["parts"]))
    digest = hashlib.sha256((store.path / ARRAY).read_bytes()).hexdigest()
    parts["array"][0]["sha256"] = digest
    alter_meta(store, parts=parts, sha256=joint(parts))


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


@pytest.mark.parametrize("rows_a_shard", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("parts", [[5], [2, 3], [1] * 5])
def test_shards_are_of_bounded_size_and_read_as_one_array(tmp_path, rows_a_shard, parts):
    blocks = np.split(PIXELS, np.cumsum(parts)[:-1])
    write(tmp_path / "s", blocks, value_range=(0, 255), shard_bytes=rows_a_shard * 48 + 47)
    shards = [np.load(path) for path in sorted((tmp_path / "s").glob("array-*.npy"))]
    assert [len(shard) for shard in shards] == [
        min(rows_a_shard, 5 - first) for first in range(0, 5, rows_a_shard)
    ]
    np.testing.assert_array_equal(np.concatenate(shards), PIXELS)
    store = open_store(tmp_path / "s")
    np.testing.assert_array_equal(store.array, PIXELS)
    for rows in ([4, 0, 2, 2], [1], []):
        rows = np.array(rows, dtype=np.int64)
        np.testing.assert_array_equal(store.array[rows], PIXELS[rows])
    for rows in (slice(1, 4), slice(None), slice(3, 99), slice(4, 2)):
        np.testing.assert_array_equal(store.array[rows], PIXELS[rows])
    assert store.array.shape == PIXELS.shape and store.array.size == PIXELS.size


def test_a_row_larger_than_a_shard_gets_one_of_its_own(tmp_path):
    write(tmp_path / "s", [PIXELS], value_range=(0, 255), shard_bytes=1)
    assert len(list((tmp_path / "s").glob("array-*.npy"))) == 5


@pytest.mark.parametrize("rows", [[5], [-1], [0, 6]])
def test_rows_that_are_not_there_are_refused(rows):
    with pytest.raises(IndexError, match="expected 0 to 4"):
        Shards([PIXELS[:2], PIXELS[2:]])[np.array(rows)]


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


def test_blocks_that_end_early_leave_complete_shards_but_no_store(tmp_path):
    with pytest.raises(InputError, match="expected 6 samples, found 5"):
        write(tmp_path / "s", [PIXELS], count=6, shard_bytes=2 * 48)
    names = sorted(path.name for path in (tmp_path / "s").iterdir() if path.is_file())
    assert names == ["array-00000.npy", "array-00001.npy"]


def test_a_disk_without_room_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)._replace(free=LATENTS.nbytes - 1)
    monkeypatch.setattr("dansm.io.files.shutil.disk_usage", lambda path: free)
    with pytest.raises(InputError, match=r"s: expected 0\.00 GiB of free disk for it, found"):
        write(tmp_path / "s", [LATENTS])
    assert [path for path in (tmp_path / "s").rglob("*") if path.is_file()] == []
    monkeypatch.setattr(
        "dansm.io.files.shutil.disk_usage", lambda path: free._replace(free=LATENTS.nbytes)
    )
    write(tmp_path / "s", [LATENTS])


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be writable") as caught:
        write(tmp_path / "file" / "s", [PIXELS])
    assert str(tmp_path / "file" / "s") in str(caught.value)


def cut(path):
    path.write_bytes(path.read_bytes()[:-7])


def flip(path, place=-3):
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("name", [ARRAY, "labels.npy"])
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
    assert str(store.path / ARRAY) in str(caught.value)


def test_values_out_of_range_are_refused_even_with_the_right_checksum(make_store):
    store = make_store(np.full((2, 1, 2, 2), 16, np.uint8), (0, 16))
    alter_array(store, np.full((2, 1, 2, 2), 17, np.uint8))
    with pytest.raises(InputError, match=r"expected values in \[0, 16\], found \[17, 17\]"):
        open_store(store.path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": 6}, "expected 6 samples in the shards of array, found 5"),
        ({"shape": [3, 4, 5]}, r"expected shape \(5, 3, 4, 5\)"),
        ({"dtype": "int8"}, "of int8 as in meta.json, found .* of uint8"),
        ({"sha256": "0" * 64}, "expected sha256 .* by those of its shards, found 0{64}"),
        ({"value_range": [5, 5]}, "value_range: .* expected a smaller and a larger number"),
        ({"value_range": [0, float("nan")]}, "value_range: .* expected a smaller and a larger"),
        ({"count": 0}, "count: .* greater than 0"),
        ({"dtype": "object"}, "dtype: .* Input should be 'uint8'"),
        ({"parts": {}, "sha256": joint({})}, r"expected a part array, found \[\]"),
        ({"parts": [1]}, "parts: .* Input should be an object"),
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
        ("{", "all of it: expected the JSON of a valid description, found: Invalid JSON"),
        ('{"count": 5}', "shape: expected the JSON of a valid description, found: Field required"),
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


@pytest.mark.parametrize("name", [ARRAY, "labels.npy", "meta.json"])
@pytest.mark.parametrize("in_results", [True, False])
def test_a_bit_that_flips_while_the_date_stays_is_noticed(make_store, tmp_path, name, in_results):
    folder = tmp_path / "data" / "digits"
    if in_results:
        with recorded(tmp_path, "build_dataset", "digits", [folder]):
            make_store(PIXELS, (0, 255), LABELS, name="data/digits")
    else:
        make_store(PIXELS, (0, 255), LABELS, name="data/digits")
    open_store(folder)
    for place in (-9, 5) if in_results or name != "meta.json" else (5,):
        content = (folder / name).read_bytes()
        flip(folder / name, place)
        with pytest.raises(InputError, match=f"^{folder / name}: "):
            open_store(folder)
        (folder / name).write_bytes(content)


def test_a_copied_store_is_read_through_and_opens(make_store, tmp_path):
    store = make_store(PIXELS, (0, 255))
    shutil.copytree(store.path, tmp_path / "copy", copy_function=shutil.copyfile)
    np.testing.assert_array_equal(open_store(tmp_path / "copy").array, PIXELS)


@pytest.fixture
def latents(tmp_path):
    """A store of latents with all parts, by name, in shards of two rows."""
    names = ("array", "deviation", "mirrored", "mirrored_deviation")
    arrays = {name: RNG.random((5, 4, 2, 2)).astype(np.float16) for name in names}
    files = {name: [] for name in names}
    for name, array in arrays.items():
        for number, first in enumerate(range(0, 5, 2)):
            files[name].append(tmp_path / "l" / f"{name}-{number:05d}.npy")
            with atomic_path(files[name][-1]) as partial, open(partial, "wb") as file:
                np.save(file, array[first : first + 2])
    finish_store(
        tmp_path / "l",
        files,
        value_range=None,
        source="a test",
        licence="none",
        extra={"autoencoder": "toy"},
    )
    return arrays, open_store(tmp_path / "l")


def test_latents_are_drawn_from_their_posterior_and_mirrored_images_have_their_own(latents):
    arrays, store = latents
    assert store.has_posterior and store.can_mirror and store.meta["autoencoder"] == "toy"
    rows, mirrored = np.array([4, 0, 1, 0]), torch.tensor([True, False, False, True])
    noise = torch.randn(4, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    expected = np.empty((4, 4, 2, 2))
    for k, (row, flip) in enumerate(zip(rows, mirrored, strict=True)):
        mean = arrays["mirrored" if flip else "array"][row].astype(np.float64)
        deviation = arrays["mirrored_deviation" if flip else "deviation"][row].astype(np.float64)
        expected[k] = mean + deviation * noise[k].double().numpy()
    np.testing.assert_allclose(store.draw(rows, mirrored, noise), expected, atol=1e-6)
    np.testing.assert_array_equal(store.draw(rows), arrays["array"][rows].astype(np.float32))
    np.testing.assert_array_equal(store.batch(rows), store.draw(rows))


def test_mirrored_pixels_are_the_pixels_mirrored(make_store):
    store = make_store(PIXELS, (0, 255))
    mirrored = torch.tensor([False, True, True, False, False])
    found = store.draw(np.arange(5), mirrored)
    expected = PIXELS.copy()
    expected[1:3] = expected[1:3, :, :, ::-1]
    np.testing.assert_allclose(found, expected / 127.5 - 1, atol=1e-6)
    assert store.can_mirror and not store.has_posterior
    assert not make_store(LATENTS, name="latents").can_mirror


def test_a_part_with_a_shard_missing_is_refused(latents):
    _, store = latents
    parts = {**store.meta["parts"], "deviation": store.meta["parts"]["deviation"][:2]}
    alter_meta(store, parts=parts, sha256=joint(parts))
    with pytest.raises(InputError, match="expected 5 samples in the shards of deviation, found 4"):
        open_store(store.path)
