"""`verify`: hold an edited model against an argument, and say what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from tinyalign.common.files import write_json
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import Property
from tinyalign.verification.leaf import Leaf
from tinyalign.verification.ledger import Ledger
from tinyalign.verification.locking import locked
from tinyalign.verification.preparing import Case, leaf_contexts, prepare
from tinyalign.verification.results import LeafResult, Row, Status
from tinyalign.verification.rows import RowFile
from tinyalign.verification.running import (
    Budget,
    Meter,
    Progress,
    conclude,
    header,
    measure_leaf,
    plan_all,
)
from tinyalign.verification.seal import Seal
from tinyalign.verification.tree import Assumption, claim_status, obstacles, tree_json, walk
from tinyalign.verification.verdict import EXIT_CODES, FORMAT, Verdict, verdict_hash

if TYPE_CHECKING:
    from tinyalign.circuits import Localization
    from tinyalign.edits import Edit

STORIES_SHOWN = 4


def verify(
    base: StoryModel,
    edited: StoryModel,
    prop: Property,
    *,
    pair: str | None = None,
    edit: Edit | None = None,
    argument: str | Path = "standard",
    folder: str | Path | None = None,
    budget: Budget | None = None,
    alpha: float = 0.05,
    ledger: str | Path | None = None,
    localization: Localization | None = None,
    stories: str | Path | None = None,
    fail_fast: bool = False,
    chunk: int | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
    rerun: Sequence[str] = (),
) -> Verdict:
    """Re-run an argument's leaves as tests on two models and combine them into a verdict.

    Rows go to `folder/results` as they are measured (by default a folder of the user's cache, named by what
    is verified); a run that was killed goes on from them and ends in the same verdict, to the hash. The test
    data are sealed: their seed follows from specification, base and edited checkpoint. `ledger` is the folder
    of the attempts' record (by default the user's); attempt j on the same claim has alpha / (j (j + 1)).

    `budget` bounds the measuring; leaves that it cuts short are "not established". `fail_fast` stops after
    the first leaf that defeats the argument. `progress` is told about every step, `say` about what takes long
    before the first. `rerun` are the commands that the verdict names for doing it again.

    Raises what `prepare` raises before anything is measured, `TamperedError` where results or ledger were
    changed, and `RunBrokeError` where measuring fails.
    """
    started, clock = datetime.now(UTC), time.monotonic()
    case = prepare(
        base,
        edited,
        prop,
        pair=pair,
        edit=edit,
        argument=argument,
        localization=localization,
        stories=stories,
        progress=say,
    )
    seal = case.seal(Ledger.open(ledger), alpha)
    where = Path(folder) if folder is not None else _own_folder(seal)
    contexts = leaf_contexts(case, case.context(seal))
    planned = plan_all(contexts)
    with locked(where, "folder", wait=False):
        write_json(where / "specification.json", case.specification)
        if edit is not None:
            edit.save(where / "edit")
        meter = Meter(budget or Budget(), time.monotonic())
        results: dict[str, LeafResult] = {}
        rows: dict[str, list[Row]] = {}
        over = False
        for name, (leaf, context) in contexts.items():
            file = RowFile(where, header(leaf, seal))
            if not over:
                measure_leaf(leaf, context, file, planned[name], meter, progress, chunk)
            results[name], rows[name] = conclude(leaf, context, file.rows, planned[name]), file.rows
            over = over or (fail_fast and _defeats(case, results, name, leaf))
        content = verdict_content(case, seal, results, rows)
        content |= {
            "rerun": list(rerun),
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.monotonic() - clock, 2),
            "hash": verdict_hash(content),
        }
        write_json(where / "verdict.json", content)
    return Verdict(content, where)


def verdict_content(
    case: Case, seal: Seal, results: Mapping[str, LeafResult], rows: Mapping[str, Sequence[Row]]
) -> dict[str, Any]:
    """The verdict's document, but for its times and its hash: a pure function of rows and definitions."""
    root = case.argument.root
    status = claim_status(root, results, seal.alpha)
    assumptions = [node for node in walk(root) if isinstance(node, Assumption)]
    return {
        "format": FORMAT,
        "verdict": status,
        "exit_code": EXIT_CODES[status],
        "sentence": _sentence(case, seal, results, status),
        "argument": {"name": case.argument.name, "about": case.argument.about},
        "property": case.prop.to_json(),
        "pair": case.pair.to_json(),
        "base": _model(case.base),
        "edited": _model(case.edited),
        "edit": None if case.edit is None else case.edit.to_json(),
        "localization": None if case.localization is None else case.localization.to_json(),
        "seal": seal.to_json(),
        "tree": tree_json(root, results, seal.alpha),
        "stories": _stories(rows),
        "assumptions": [{"id": one.id, "text": one.text} for one in assumptions],
        "limits": [*case.argument.limits, *_limits(case, results)],
        "preserved": [prop.id for prop, _ in case.preserved],
        "rows": {name: len(measured) for name, measured in rows.items()},
        "rerun": [],
    }


def _model(model: StoryModel) -> dict[str, Any]:
    return {"name": model.name, "sha256": model.sha256, "bits": model.bits, "source": model.source}


def _own_folder(seal: Seal) -> Path:
    name = f"{seal.specification_sha256[:12]}-{seal.edited_sha256[:12]}"
    return Path(platformdirs.user_cache_dir("tinyalign")) / "verifications" / name


def _defeats(case: Case, results: Mapping[str, LeafResult], name: str, leaf: Leaf) -> bool:
    """Whether a leaf that is defeated defeats the whole: it stands under nothing but "and"."""
    if results[name].status != "defeated":
        return False
    supported = case.argument.root
    pending = [supported]
    while pending:
        claim = pending.pop()
        if claim.combine != "and":
            continue
        for child in claim.supports:
            if child is leaf:
                return True
            if not isinstance(child, Leaf):
                pending.append(child)
    return False


def _sentence(case: Case, seal: Seal, results: Mapping[str, LeafResult], status: Status) -> str:
    root = case.argument.root
    claim = root.text.rstrip(".")
    if status == "established":
        return (
            f"Established: {claim}. All that it rests on held, each test at error {seal.alpha:.3g} "
            f"(attempt {seal.attempt})."
        )
    found = obstacles(root, results, seal.alpha, status)
    if status == "defeated":
        told = []
        for one in found[:3]:
            if isinstance(one, Leaf):
                told.append(f"{one.id} ({one.kind}): {results[one.id].summary}")
            else:
                told.append(f"{one.id}: {one.text.rstrip('.')}.")
        more = f" And {len(found) - 3} more." if len(found) > 3 else ""
        return f"Defeated: {claim}. Failed: {' '.join(told)}{more}"
    cut = any(not one.complete for one in results.values())
    reason = "the budget ran out" if cut else "the data do not suffice"
    return f"Not established: {claim}. Open: {', '.join(one.id for one in found)}; {reason}."


def _stories(rows: Mapping[str, Sequence[Row]]) -> list[dict[str, Any]]:
    """The first stories of the first leaf that sampled any: not picked."""
    for measured in rows.values():
        if measured and isinstance(measured[0].get("before"), dict) and "text" in measured[0]["before"]:
            return [
                {
                    "prompt": row["prompt"],
                    "before": row["before"]["text"],
                    "after": row["after"]["text"],
                    "verdict_before": row["before"]["verdict"],
                    "verdict_after": row["after"]["verdict"],
                }
                for row in measured[:STORIES_SHOWN]
            ]
    for measured in rows.values():
        if (
            measured
            and isinstance(measured[0].get("before"), str)
            and isinstance(measured[0].get("after"), str)
        ):
            return [
                {key: row[key] for key in ("prompt", "before", "after")} for row in measured[:STORIES_SHOWN]
            ]
    return []


def _limits(case: Case, results: Mapping[str, LeafResult]) -> list[str]:
    found = []
    if not case.stories.real:
        found.append(f"Whole stories were {case.stories.name}: no real stories were at hand.")
    if any(result.details.get("empty") for result in results.values()):
        found.append(
            "No other property is present in the base, so the claim that others are preserved is empty."
        )
    if case.edit is None:
        found.append("No edit artifact was given: what changed was read off the two networks alone.")
    return found
