"""Notes: what was measured under the same conditions, and whole, need not be measured again."""

import random

from dansm.io.notes import append_note, read_notes


def test_notes_come_back_by_key_and_only_under_their_identity(tmp_path):
    path = tmp_path / "training" / "notes.jsonl"
    assert read_notes(path, "a") == {}
    append_note(path, "a", "first", [{"value": 0.1, "none": None}])
    append_note(path, "b", "second", [{"value": 2}])
    assert read_notes(path, "a") == {"first": [{"value": 0.1, "none": None}]}
    assert read_notes(path, "b") == {"second": [{"value": 2}]}


def test_a_note_cut_short_does_not_count(tmp_path):
    path = tmp_path / "notes.jsonl"
    for key in ("first", "second"):
        append_note(path, "a", key, [{"value": key}])
    path.write_text(path.read_text()[:-9])
    assert read_notes(path, "a") == {"first": [{"value": "first"}]}


def test_notes_that_were_changed_do_not_count_and_others_do(tmp_path):
    path = tmp_path / "notes.jsonl"
    for key in ("first", "second", "third"):
        append_note(path, "a", key, [{"value": 1.5}])
    whole = path.read_bytes()
    draws = random.Random(0)
    for _ in range(200):
        damaged = bytearray(whole)
        damaged[draws.randrange(len(whole))] ^= 1 << draws.randrange(8)
        path.write_bytes(damaged)
        found = read_notes(path, "a")
        assert found.keys() < {"first", "second", "third"}
        assert all(rows == [{"value": 1.5}] for rows in found.values())


def test_a_note_after_one_cut_short_counts(tmp_path):
    path = tmp_path / "notes.jsonl"
    append_note(path, "a", "first", [])
    path.write_bytes(path.read_bytes()[:-9])
    append_note(path, "a", "second", [])
    assert read_notes(path, "a") == {"second": []}
