"""Seeds, atomic files, errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinyalign.common.arguments import check_characters, real, strings, whole
from tinyalign.common.errors import InputError, unknown_name
from tinyalign.common.files import atomic_folder, atomic_path, check_writable, sha256_file, write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.common.seeds import derive_seed


@given(st.lists(st.one_of(st.text(), st.integers(), st.binary()), min_size=1, max_size=4))
def test_seeds_are_stable_and_in_range(purpose: list) -> None:
    assert derive_seed(*purpose) == derive_seed(*purpose)
    assert 0 <= derive_seed(*purpose) < 2**63


def test_seeds_tell_purposes_apart() -> None:
    purposes = [("ab", "c"), ("a", "bc"), ("abc",), (1,), ("1",), (b"1",), ("a", 1), ("a", 11)]
    assert len({derive_seed(*purpose) for purpose in purposes}) == len(purposes)
    # Written down once: a change of the derivation would change every published result.
    assert derive_seed("sample", 0) == 4431669960739341196


def test_a_place_is_tried_before_there_is_something_to_write(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "a.json")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "b.json").write_text("old")
    check_writable(tmp_path / "b.json")
    assert (tmp_path / "b.json").read_text() == "old"
    with pytest.raises(InputError, match="Cannot write"):
        check_writable(tmp_path / "b.json" / "c.json")


@given(st.integers())
def test_whole_numbers_are_taken_as_they_are(value: int) -> None:
    assert whole("x", value) == value


@pytest.mark.parametrize("value", [1.5, "1", None, [1]])
def test_what_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(InputError, match=r"x is .*: expected a whole number"):
        whole("x", value)


def test_numbers_strings_and_characters() -> None:
    assert real("x", 2) == 2.0
    with pytest.raises(InputError, match="x is '1': expected a number"):
        real("x", "1")
    assert strings("x", iter(["a", ""])) == ("a", "")
    with pytest.raises(InputError, match="x is 3: expected a list of strings"):
        strings("x", 3)
    check_characters("Zoë ☃ 🐕")
    with pytest.raises(InputError, match="no whole character at place 1"):
        check_characters("a\ud800")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"a": 1})
    before = sha256_file(target)
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(target, {"a": float("nan")})
    with pytest.raises(RuntimeError), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert sha256_file(target) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_atomic_folder_replaces_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    with atomic_folder(target) as temporary:
        (temporary / "one").write_text("1")
    with pytest.raises(RuntimeError), atomic_folder(target) as temporary:
        (temporary / "two").write_text("2")
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["one"]
    with atomic_folder(target) as temporary:
        (temporary / "two").write_text("2")
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="Cannot write"), atomic_path(tmp_path / "file" / "a.json"):
        pass
    with pytest.raises(InputError, match="a file of that name"), atomic_folder(tmp_path / "file"):
        pass


def test_unknown_names_suggest(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "did you mean ternary" in str(unknown_name("model", "ternari", ["ternary", "float"]))
    assert "for example, float, ternary" in str(unknown_name("model", "zzz", ["ternary", "float"]))
    monkeypatch.setenv("TINYALIGN_SHARED", str(tmp_path))
    assert shared_folder("models") is None
    (tmp_path / "models").mkdir()
    assert shared_folder("models") == tmp_path / "models"
    assert data_folder().is_dir()
