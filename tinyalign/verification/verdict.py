"""`Verdict`: what an argument came to, as one JSON document with a hash, and its files."""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinyalign.common.errors import DataError
from tinyalign.common.files import write_json
from tinyalign.verification.canonical import sha256_of
from tinyalign.verification.results import STATUSES, Status

FORMAT = "tinyalign-verdict-1"
EXIT_CODES: Mapping[Status, int] = {"established": 0, "defeated": 1, "not established": 3}

# Not part of the hash: times, paths, and names that depend on where a model was loaded from.
_UNHASHED = ("hash", "started", "seconds", "rerun")
_UNHASHED_MODEL = ("name", "source")


@dataclass(frozen=True)
class Verdict:
    """The verdict with everything that it rests on.

    `content` is the document that `verdict.json` holds and the report reads; `folder` is where the run's rows
    are. `status` is "established", "defeated" or "not established".
    """

    content: Mapping[str, Any]
    folder: Path

    def __post_init__(self) -> None:
        if self.content.get("format") != FORMAT or self.content.get("verdict") not in STATUSES:
            raise DataError(f"This is no verdict of the format {FORMAT}.")

    @property
    def status(self) -> Status:
        """established, defeated or not established."""
        return self.content["verdict"]

    @property
    def exit_code(self) -> int:
        """0 established, 1 defeated, 3 not established."""
        return EXIT_CODES[self.status]

    @property
    def sentence(self) -> str:
        """The verdict in plain words."""
        return self.content["sentence"]

    @property
    def hash(self) -> str:
        """SHA-256 of everything that is no time, path or name of a place."""
        return self.content["hash"]

    @property
    def results(self) -> dict[str, Mapping[str, Any]]:
        """Every leaf's result by id, as JSON values."""
        return {node["id"]: node["result"] for node in nodes(self.content["tree"]) if node["result"]}

    def to_json(self) -> dict[str, Any]:
        """The document."""
        return dict(self.content)

    def save(self, folder: str | Path) -> Path:
        """Write `verdict.json`, `report.html` and the run's files to a folder; gives the report's path.

        The folder then holds all that a recheck needs. Raises `InputError` where it cannot be written.
        """
        target = Path(folder)
        write_json(target / "verdict.json", self.content)
        if target.resolve() != self.folder.resolve():
            for name in ("results", "edit"):
                if (self.folder / name).is_dir():
                    shutil.copytree(self.folder / name, target / name, dirs_exist_ok=True)
            shutil.copyfile(self.folder / "specification.json", target / "specification.json")
        # The report room reads this document alone and lies below this room, so it is found by its name.
        importlib.import_module("tinyalign.report.verdict").write_report(self.content, target / "report.html")
        return target / "report.html"


def verdict_hash(content: Mapping[str, Any]) -> str:
    """The hash of a verdict's document (whatever it says its hash is)."""
    kept = {key: value for key, value in content.items() if key not in _UNHASHED}
    for key in ("base", "edited"):
        kept[key] = {name: value for name, value in content[key].items() if name not in _UNHASHED_MODEL}
    return sha256_of(kept)


def nodes(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """All nodes of a verdict's tree, parents first."""
    return [tree, *(node for child in tree["children"] for node in nodes(child))]
