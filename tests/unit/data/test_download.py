"""Downloads from a real HTTP server on this machine."""

import errno
import gzip
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dansm.data.download import download, provide
from dansm.errors import InputError

CONTENT = random.Random(0).randbytes(300_000)
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"


@pytest.fixture
def server(file_server):
    file_server.files["/data.bin"] = CONTENT
    return file_server


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "data.bin"


def quickly(target, addresses, checksum=MD5, **options):
    return download(target, addresses, checksum, pause=0.0, **options)


def left(target):
    """Return the names of all files of the target's folder, but the lock's."""
    return sorted(p.name for p in target.parent.iterdir() if not p.name.endswith(".lock"))


@pytest.mark.parametrize("checksum", [MD5, SHA256, None])
def test_a_file_arrives_and_is_recorded(server, target, checksum, capsys):
    record = quickly(target, [server.address("data.bin")], checksum)
    assert target.read_bytes() == CONTENT
    assert record == {
        "path": str(target),
        "size": len(CONTENT),
        "sha256": SHA256.removeprefix("sha256:"),
        "checksum": checksum,
        "address": server.address("data.bin"),
    }
    assert left(target) == ["data.bin"]
    assert server.requests == [("/data.bin", None)]
    said = f"no checksum is known; {SHA256.replace(':', ' ')}"
    assert (said in capsys.readouterr().out) == (checksum is None)


@pytest.mark.parametrize("checksum", [MD5, None])
@pytest.mark.parametrize("seed", range(3))
def test_interrupted_at_random_bytes_it_goes_on_where_it_was(server, target, checksum, seed):
    cuts = [random.Random(seed).randrange(1, 60_000) for _ in range(5)]
    server.faults.extend(cuts)
    quickly(target, [server.address("data.bin")], checksum, attempts=1)
    assert target.read_bytes() == CONTENT and left(target) == ["data.bin"]
    starts = [sum(cuts[:k]) for k in range(6)]
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={n}-" for n in starts[1:])]
    assert server.sent == len(CONTENT)  # no byte came twice


def test_a_server_without_ranges_sends_it_all_again(server, target):
    server.faults.extend([1000, "no ranges"])
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT and server.sent == 1000 + len(CONTENT)


def test_a_range_from_elsewhere_is_not_appended(server, target):
    server.faults.extend([1000, "elsewhere"])
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [None, "bytes=1000-", None]


def test_a_file_that_changed_meanwhile_is_taken_from_its_beginning(server, target):
    server.faults.append(1000)
    with pytest.raises(InputError, match="IncompleteRead"):
        quickly(target, [server.address("data.bin")], None, attempts=0)
    assert left(target) == [".data.bin.partial", ".data.bin.partial.json"]
    server.files["/data.bin"] = CONTENT[::-1]
    server.etag = '"2"'
    quickly(target, [server.address("data.bin")], None)
    assert target.read_bytes() == CONTENT[::-1]
    assert server.requests[-1][1] == "bytes=1000-"


def test_a_body_without_a_length_is_checked_like_any_other(server, target):
    server.faults.append("no length")
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT


def test_a_packed_file_stays_packed(server, target):
    server.extra_headers["Content-Encoding"] = "gzip"
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT


def test_a_flipped_byte_is_caught(server, target):
    server.faults.append("flipped")
    with pytest.raises(InputError) as caught:
        quickly(target, [server.address("data.bin")])
    found = hashlib.md5(CONTENT[:-1] + bytes([CONTENT[-1] ^ 4])).hexdigest()
    assert str(caught.value) == (
        f"{target}: cannot be downloaded; {server.address('data.bin')}: "
        f"expected md5 {MD5[4:]}, found {found}"
    )
    assert left(target) == []
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT


def test_a_byte_flipped_before_an_interruption_is_caught(server, target):
    server.faults.append(1000)
    with pytest.raises(InputError):
        quickly(target, [server.address("data.bin")], attempts=0)
    partial = target.with_name(".data.bin.partial")
    partial.write_bytes(b"\0" + partial.read_bytes()[1:])
    with pytest.raises(InputError, match=f"expected {MD5.replace(':', ' ')}, found"):
        quickly(target, [server.address("data.bin")])
    assert left(target) == []


def test_the_next_address_is_tried(server, target):
    server.files["/bad/data.bin"] = CONTENT[:-1] + b"x"
    addresses = [server.address(f"{folder}data.bin") for folder in ("none/", "bad/", "")]
    assert quickly(target, addresses)["address"] == addresses[2]
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/none/data.bin", "/bad/data.bin", "/data.bin"]


def test_a_404_is_one_line_and_is_not_asked_again(server, target):
    with pytest.raises(InputError) as caught:
        quickly(target, [server.address("none/data.bin"), server.address("also/none")])
    assert str(caught.value) == (
        f"{target}: cannot be downloaded; {server.address('none/data.bin')}: HTTP 404 Not Found; "
        f"{server.address('also/none')}: HTTP 404 Not Found"
    )
    assert left(target) == [] and len(server.requests) == 2


def test_a_failing_server_is_asked_again_after_growing_pauses(server, target, monkeypatch):
    pauses = []
    monkeypatch.setattr("dansm.data.download.time.sleep", pauses.append)
    server.faults.extend(["HTTP 500", "HTTP 503", 1000, "HTTP 429", *["HTTP 500"] * 6])
    download(target, [server.address("data.bin")], MD5, pause=3.0)
    assert target.read_bytes() == CONTENT
    assert pauses == [3, 6, 3, 3, 6, 12, 24, 48, 60, 60]


def test_a_server_that_only_fails_is_given_up(server, target):
    server.faults.extend(["HTTP 500"] * 4)
    with pytest.raises(InputError, match=r"HTTP 500 .*\(attempt 4 without a byte more\)$"):
        quickly(target, [server.address("data.bin")], attempts=4)
    assert len(server.requests) == 4 and left(target) == []


def test_no_server_is_one_line(server, target):
    with pytest.raises(InputError) as caught:
        quickly(target, ["http://127.0.0.1:9/data.bin"], attempts=2)
    assert "http://127.0.0.1:9/data.bin: ConnectionError, " in str(caught.value)
    assert "refused" in str(caught.value) and "\n" not in str(caught.value)


def test_an_address_that_makes_no_sense_is_refused_at_once(target):
    with pytest.raises(InputError, match=r"http:///data\.bin: Invalid URL"):
        download(target, ["http:///data.bin"], MD5)


def test_a_disk_without_room_is_noticed_before_the_download(server, target, monkeypatch):
    usage = shutil.disk_usage(target.anchor)
    monkeypatch.setattr(
        "dansm.io.files.shutil.disk_usage", lambda path: usage._replace(free=len(CONTENT) - 1)
    )
    server.files["/data.bin"] = CONTENT
    with pytest.raises(InputError) as caught:
        quickly(target, [server.address("data.bin")])
    assert str(caught.value).startswith(f"{target}: expected 0.00 GiB of free disk for it, found")
    assert left(target) == []
    # What is there already needs no room.
    server.faults.append(1000)
    monkeypatch.undo()
    with pytest.raises(InputError):
        quickly(target, [server.address("data.bin")], attempts=0)
    monkeypatch.setattr(
        "dansm.io.files.shutil.disk_usage", lambda path: usage._replace(free=len(CONTENT) - 1000)
    )
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT


def test_a_disk_that_fills_meanwhile_is_one_line(server, target):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(InputError) as caught:
            quickly(target, [server.address("data.bin")])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(caught.value) == (
        f"{target}: the download stopped after 200000 bytes; {os.strerror(27)}"
    )
    assert not target.exists()
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT and server.requests[-1][1] == "bytes=200000-"


def test_a_killed_process_is_followed_by_one_that_goes_on(server, target):
    content = random.Random(1).randbytes(3 * 2**20)
    server.files["/data.bin"] = content
    server.gate.clear()
    server.faults.append(5 * 2**19)
    code = (
        "import sys; from pathlib import Path; from dansm.data.download import download; "
        "download(Path(sys.argv[1]), [sys.argv[2]])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(target), server.address("data.bin")],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "src")},
        stderr=subprocess.DEVNULL,
    )
    partial = target.with_name(".data.bin.partial")
    try:
        deadline = time.monotonic() + 60
        while not partial.exists() or partial.stat().st_size < 2**21:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        server.gate.set()
    assert not target.exists()
    quickly(target, [server.address("data.bin")], None)
    assert target.read_bytes() == content and left(target) == ["data.bin"]
    assert server.requests[-1][1] == f"bytes={2**21}-"


def test_two_that_want_the_same_file_download_it_once(server, target):
    server.gate.clear()
    server.faults.append(100_000)
    records = []
    threads = [
        threading.Thread(
            target=lambda: records.append(quickly(target, [server.address("data.bin")]))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while not server.sent:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    server.gate.set()
    for thread in threads:
        thread.join()
    assert server.sent == len(CONTENT)
    assert sorted(record["address"] is None for record in records) == [False, True]


def test_bytes_from_another_address_count_only_with_a_checksum(server, target):
    server.files["/other/data.bin"] = CONTENT
    for checksum, asked in ((MD5, "bytes=1000-"), (None, None)):
        server.faults.append(1000)
        with pytest.raises(InputError):
            quickly(target, [server.address("data.bin")], checksum, attempts=0)
        quickly(target, [server.address("other/data.bin")], checksum)
        assert target.read_bytes() == CONTENT and server.requests[-1][1] == asked
        target.unlink()


def test_a_note_that_was_cut_short_means_starting_over(server, target):
    server.faults.append(1000)
    with pytest.raises(InputError):
        quickly(target, [server.address("data.bin")], attempts=0)
    note = target.with_name(".data.bin.partial.json")
    assert json.loads(note.read_text())["size"] == len(CONTENT)
    note.write_text('{"addr')
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT and server.requests[-1][1] is None


def test_a_complete_part_is_only_checked(server, target):
    target.parent.mkdir()
    address = server.address("data.bin")
    target.with_name(".data.bin.partial").write_bytes(CONTENT)
    note = {"address": address, "size": len(CONTENT), "version": None}
    target.with_name(".data.bin.partial.json").write_text(json.dumps(note))
    assert quickly(target, [address])["address"] == address
    assert target.read_bytes() == CONTENT and server.requests == []


def test_a_part_beyond_the_end_means_starting_over(server, target):
    target.parent.mkdir()
    address = server.address("data.bin")
    target.with_name(".data.bin.partial").write_bytes(CONTENT + b"more")
    note = {"address": address, "size": None, "version": None}
    target.with_name(".data.bin.partial.json").write_text(json.dumps(note))
    quickly(target, [address])
    assert target.read_bytes() == CONTENT


def test_a_local_mirror_is_copied(tmp_path, target):
    mirror = tmp_path / "a mirror" / "data.bin"
    mirror.parent.mkdir()
    mirror.write_bytes(CONTENT)
    none, there = f"file:{tmp_path}/none/data.bin", mirror.as_uri()
    assert "%20" in there and quickly(target, [none, there])["address"] == there
    assert target.read_bytes() == CONTENT and mirror.exists()
    with pytest.raises(InputError, match=f"{none}: No such file"):
        quickly(tmp_path / "another", [none])


def test_a_file_that_is_there_is_not_asked_for(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    assert quickly(target, [server.address("data.bin")])["address"] is None
    target.write_bytes(CONTENT[:-1])
    with pytest.raises(InputError, match=rf"{target}: expected md5 {MD5[4:]}, found .*delete it"):
        quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT[:-1] and server.requests == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=f"{tmp_path}/file/below: expected a folder in which data"):
        quickly(tmp_path / "file" / "below" / "data.bin", ["http://127.0.0.1:9/"])


def test_what_a_site_has_is_taken_as_it_is(server, target, tmp_path, capsys):
    unpacked = tmp_path / "unpacked"
    address = server.address("data.bin")
    assert provide(target, [address], MD5, unpacked)["address"] == address
    assert provide(target, [address], MD5, unpacked)["checksum"] == MD5
    assert capsys.readouterr().out == ""
    target.write_bytes(b"packed anew")
    record = provide(target, [address], MD5, unpacked)
    assert record["checksum"] is None
    assert record["sha256"] == hashlib.sha256(b"packed anew").hexdigest()
    assert f"{target}: expected md5 {MD5[4:]}, found" in capsys.readouterr().out
    target.unlink()
    unpacked.write_text("content")
    assert provide(target, [address], MD5, unpacked) == {"path": str(unpacked)}
    assert len(server.requests) == 1


PAGES = {
    "a page": b"<html>log in</html>",
    "nothing": b"",
    "an encoded archive": gzip.compress(b"PK\3\4" + CONTENT),
}


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
@pytest.mark.parametrize("checksum", [True, False])
def test_a_page_in_place_of_an_archive_leads_to_the_next_address(
    file_server, tmp_path, page, checksum
):
    whole = b"PK\3\4" + CONTENT
    file_server.files = {"/a/d.zip": page, "/b/d.zip": whole}
    addresses = [file_server.address("a/d.zip"), file_server.address("b/d.zip")]
    digest = f"md5:{hashlib.md5(whole).hexdigest()}" if checksum else None
    assert quickly(tmp_path / "d.zip", addresses, digest)["address"] == addresses[1]
    assert (tmp_path / "d.zip").read_bytes() == whole
    with pytest.raises(InputError, match=r"expected a \.zip file, found (one that|an empty)"):
        quickly(tmp_path / "e" / "d.zip", addresses[:1], digest)
    assert left(tmp_path / "e" / "d.zip") == []
    # One that has been stored is found again, whether it is ours or the site's.
    (tmp_path / "d.zip").write_bytes(page)
    expected = rf"^{tmp_path}/d\.zip: expected a \.zip file, found .*; delete it"
    with pytest.raises(InputError, match=expected):
        quickly(tmp_path / "d.zip", addresses, digest)
    with pytest.raises(InputError, match=expected):
        provide(tmp_path / "d.zip", addresses, digest, tmp_path / "unpacked")


@pytest.mark.parametrize("what", ["closed", "a folder", "a pipe", "a loop", "a file below a file"])
def test_a_mirror_that_cannot_be_read_leads_to_the_next(tmp_path, target, what, monkeypatch):
    bad, good = tmp_path / "bad" / "data.bin", tmp_path / "good" / "data.bin"
    for path in (bad, good):
        path.parent.mkdir()
    good.write_bytes(CONTENT)
    if what == "closed":
        bad.write_bytes(CONTENT)
        forbid(monkeypatch, bad)
    elif what == "a folder":
        bad.mkdir()
    elif what == "a pipe":
        os.mkfifo(bad)
    elif what == "a loop":
        bad.symlink_to(bad)
    else:
        bad.write_bytes(b"")
        bad = bad / "data.bin"
    addresses = [f"file:{bad}", f"file:{good}"]
    assert quickly(target, addresses)["address"] == addresses[1]
    target.unlink()
    reason = "Permission denied" if what == "closed" else ""
    with pytest.raises(InputError, match=f"{target}: cannot be downloaded; file:{bad}: {reason}"):
        quickly(target, addresses[:1])


def forbid(monkeypatch, path):
    """Close a file, to root too."""
    path.chmod(0)
    whole = Path.stat

    def stat(self, **options):
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return whole(self, **options)

    monkeypatch.setattr(Path, "stat", stat)


@pytest.mark.parametrize(
    ("note", "length"),
    [
        ("[1]", None),
        ("null", None),
        ('{"address": 3, "size": "x", "version": []}', None),
        ("[" * 10**5, None),
        (None, "abc"),
        (None, "9" * 5000),
        (None, "-5"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_notes_and_lengths_without_sense_do_no_harm(server, target, note, length):
    target.parent.mkdir()
    if note is not None:
        target.with_name(".data.bin.partial").write_bytes(CONTENT[:100])
        target.with_name(".data.bin.partial.json").write_text(note)
    else:
        server.faults.append("no length")
        server.extra_headers["Content-Length"] = length
    quickly(target, [server.address("data.bin")])
    assert target.read_bytes() == CONTENT and left(target) == ["data.bin"]


@pytest.mark.parametrize("checksum", ["crc99:1", "md5", "sha256:xyz", "shake_128:00"])
def test_a_checksum_without_sense_is_named(target, checksum):
    with pytest.raises(InputError, match=rf"^{target}: expected a checksum md5:… .* {checksum}$"):
        download(target, [], checksum)


@pytest.mark.parametrize("name", ["data.bin", ".data.bin.partial", ".data.bin.partial.json"])
def test_a_folder_of_that_name_is_one_line(server, target, name):
    target.with_name(name).mkdir(parents=True)
    with pytest.raises(InputError, match=f"^{target}: ") as caught:
        quickly(target, [server.address("data.bin")])
    assert "folder" in str(caught.value) or "directory" in str(caught.value).lower()
    assert target.with_name(name).is_dir()


@pytest.mark.parametrize("address", ["data.bin", "ftp://x/data.bin", "https://"])
def test_addresses_without_sense_are_not_asked_again(target, address):
    with pytest.raises(InputError, match=f"cannot be downloaded; {address}: ") as caught:
        download(target, [address], MD5, pause=60)
    assert "attempt" not in str(caught.value)
