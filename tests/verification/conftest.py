"""Fixtures of whole verifications: an argument, stories, and the two calls that most tests make."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.verification.cases import ARGUMENT
from tests.verification.models import tiny_base
from tinyalign.models import StoryModel
from tinyalign.properties import get
from tinyalign.verification import Verdict, recheck, verify

P1 = get("P1")


@pytest.fixture
def argument(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(ARGUMENT))
    return path


@pytest.fixture
def stories(tmp_path: Path) -> Path:
    """Held-out texts of our own."""
    path = tmp_path / "stories.jsonl"
    lines = [
        f"One day a small fox number {i} went to the river, and there it met a frog who liked to sing."
        for i in range(50)
    ]
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


@pytest.fixture
def run(tmp_path: Path, argument: Path, stories: Path) -> Callable[..., Verdict]:
    def verify_here(after: StoryModel, name: str = "run", **options: Any) -> Verdict:
        return verify(
            tiny_base(),
            after,
            P1,
            pair="action",
            argument=argument,
            folder=tmp_path / name,
            ledger=tmp_path / "ledger",
            stories=stories,
            **options,
        )

    return verify_here


@pytest.fixture
def check(tmp_path: Path, argument: Path, stories: Path) -> Callable[..., Any]:
    def recheck_here(after: StoryModel, base: StoryModel | None = None, **options: Any) -> Any:
        return recheck(
            tmp_path / "run",
            base or tiny_base(),
            after,
            P1,
            argument=argument,
            ledger=tmp_path / "ledger",
            stories=stories,
            **options,
        )

    return recheck_here
