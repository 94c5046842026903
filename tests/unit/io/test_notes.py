"""Notes: what was measured under the same conditions, and whole, need not be measured again."""

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
