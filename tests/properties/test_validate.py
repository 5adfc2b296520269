"""`check_property_file`: a report for a good file, a problem for every bad checker."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tinyalign.properties import get, load_property
from tinyalign.properties.validate import check_property_file
from tinyalign.stories.annotating import annotate

GOOD = """
from tinyalign.properties import Outcome

def check(story):
    return [Outcome("satisfied", (q.start, q.end), (q.start, q.end)) for q in story.quotes]
"""


def write(folder: Path, code: str) -> Path:
    content = yaml.safe_load(get("P1").source.read_text(encoding="utf-8"))
    content |= {"id": "X1", "name": "mine", "checker": "mine.py"}
    (folder / "mine.py").write_text(code, encoding="utf-8")
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_a_users_checker_is_run_and_reported(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    report = check_property_file(path)
    assert report.ok and report.to_json()["ok"] is True
    assert (report.id, report.name) == ("X1", "mine")
    assert any("satisfied" in note for note in report.notes)
    story = annotate('"Hello," said Tim.')
    assert load_property(path).outcome(story).verdict == "satisfied"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def check(:", "SyntaxError"),
        ("import nowhere_to_be_found", "ModuleNotFoundError"),
        ("x = 1", "must define check"),
        ("def check(): return []", "takes the arguments none"),
        ("def check(story, more): return []", "takes the arguments story, more"),
        ("def check(story): return 3", "should return a sequence of Outcome"),
        ("def check(story): return ['satisfied']", "should return a sequence of Outcome"),
        ("def check(story): return story.quotes[10**6]", "raises IndexError"),
        (
            "from tinyalign.properties import Outcome\n"
            "def check(story): return [Outcome('unknown', (0, 10**6))]",
            "gives the span",
        ),
    ],
)
def test_every_bad_checker_is_a_problem_not_a_crash(tmp_path: Path, code: str, message: str) -> None:
    report = check_property_file(write(tmp_path, code))
    assert not report.ok
    assert message in report.problems[0]


def test_a_missing_file_is_a_problem(tmp_path: Path) -> None:
    report = check_property_file(tmp_path / "absent.yaml")
    assert not report.ok and "no such property file" in report.problems[0]
