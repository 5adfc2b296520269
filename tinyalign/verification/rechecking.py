"""Check a verdict again: hashes, conclusions, models, and a sample of its rows measured anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyalign.common.errors import InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.models.story_model import StoryModel
from tinyalign.properties.definition import Property
from tinyalign.verification.canonical import TamperedError, canonical, sha256_of
from tinyalign.verification.ledger import Attempt, Ledger
from tinyalign.verification.preparing import Case, leaf_contexts, prepare
from tinyalign.verification.rows import RowFile
from tinyalign.verification.running import Progress, agree, conclude, header, measure_block, plan_all
from tinyalign.verification.seal import Seal, sealed_seed
from tinyalign.verification.verdict import Verdict, verdict_hash
from tinyalign.verification.verifying import verdict_content

if TYPE_CHECKING:
    from tinyalign.circuits import Localization
    from tinyalign.edits import Edit


RECOMPUTED = 1e-9
"""How far a number computed again from the same rows may lie from the one on file: rounding alone."""


@dataclass(frozen=True)
class Recheck:
    """What was checked again, in words; it exists only where everything agreed."""

    verdict: Verdict
    rows: int
    remeasured: int
    checked: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The fields, the verdict by its hash."""
        return {
            "verdict": self.verdict.status,
            "hash": self.verdict.hash,
            "rows": self.rows,
            "remeasured": self.remeasured,
            "checked": list(self.checked),
        }


def read_verdict(folder: str | Path) -> Verdict:
    """The verdict in a folder; raises `InputError` where none is, `TamperedError` where it was changed."""
    path = Path(folder) / "verdict.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: there is no verdict to check ({error.strerror}).") from error
    except json.JSONDecodeError as error:
        raise TamperedError(f"{path}: this is not JSON (line {error.lineno}).") from error
    if not isinstance(content, dict) or verdict_hash(content) != content.get("hash"):
        raise TamperedError(f"{path}: its hash is not that of its content: it was changed.")
    return Verdict(content, Path(folder))


def recheck(
    folder: str | Path,
    base: StoryModel,
    edited: StoryModel,
    prop: Property,
    *,
    edit: Edit | None = None,
    argument: str | Path | None = None,
    ledger: str | Path | None = None,
    localization: Localization | None = None,
    stories: str | Path | None = None,
    share: float = 0.02,
    progress: Progress | None = None,
) -> Recheck:
    """Recompute a verdict from its rows, re-hash the models, and measure a seeded share of the rows again.

    In this order: the verdict's own hash; the identities of both models; the specification and the seed that
    follow from them; every line of every result; the ledger's entry; the conclusions and the verdict, which
    must come out the same; and as many whole blocks of rows as make up `share` (one at least). `argument` is
    the template that was used (by default the shipped one of that name).

    Raises `TamperedError` with the file and line, or the model, that is not what it was; `InputError` where
    there is nothing to check, or for a share outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise InputError(f"The share of rows to measure again is {share}; give a number between 0 and 1.")
    verdict = read_verdict(folder)
    content = verdict.content
    for which, model in (("base", base), ("edited", edited)):
        if model.sha256 != content[which]["sha256"]:
            raise TamperedError(
                f"The {which} model {model.name} has the identity {model.sha256[:16]}, but the verdict is "
                f"about {content[which]['sha256'][:16]}: the checkpoint was changed, or it is another one."
            )
    case = prepare(
        base,
        edited,
        prop,
        pair=content["pair"]["name"],
        edit=edit,
        argument=argument or content["argument"]["name"],
        localization=localization,
        stories=stories,
    )
    seal = _seal(case, content)
    contexts = leaf_contexts(case, case.context(seal))
    planned = plan_all(contexts)
    files = {name: RowFile(Path(folder), header(leaf, seal)) for name, (leaf, _) in contexts.items()}
    for name, file in files.items():
        if len(file.rows) != content["rows"][name]:
            raise TamperedError(
                f"{file.path}, line {len(file.rows) + 2}: the verdict rests on {content['rows'][name]} rows, "
                f"but {len(file.rows)} are there."
            )
    Ledger.open(ledger).check(case.claim, edited.sha256, Attempt(seal.attempt, seal.alpha, seal.ledger_chain))
    results = {
        name: conclude(leaf, context, files[name].rows, planned[name])
        for name, (leaf, context) in contexts.items()
    }
    again = verdict_content(case, seal, results, {name: file.rows for name, file in files.items()})
    _same(content, json.loads(canonical(again)))
    remeasured = 0
    for name, block in _drawn(files, {n: leaf.block for n, (leaf, _) in contexts.items()}, seal, share):
        leaf, context = contexts[name]
        old = files[name].rows[block * leaf.block : (block + 1) * leaf.block]
        new = measure_block(leaf, context, block, planned[name])
        for place, (one, other) in enumerate(zip(old, new, strict=False)):
            if not agree(one, other):
                raise TamperedError(
                    f"{files[name].path}, line {block * leaf.block + place + 2}: the models give another row."
                )
        remeasured += len(old)
        if progress is not None:
            progress(name, remeasured, remeasured)
    rows = sum(len(file.rows) for file in files.values())
    return Recheck(
        verdict,
        rows,
        remeasured,
        (
            f"the verdict's hash {verdict.hash[:16]}",
            f"both models' identities ({base.sha256[:16]}, {edited.sha256[:16]})",
            f"the specification and the sealed seed {seal.seed}",
            f"{rows} lines of results, and the ledger's entry of attempt {seal.attempt}",
            f"the conclusions of {len(results)} leaves and the verdict",
            f"{remeasured} rows, measured again",
        ),
    )


def _seal(case: Case, content: Mapping[str, Any]) -> Seal:
    known, identity = content["seal"], sha256_of(case.specification)
    seed = sealed_seed(identity, case.base.sha256, case.edited.sha256)
    if known["specification_sha256"] != identity or known["seed"] != str(seed):
        raise TamperedError(
            f"The specification has the identity {identity[:16]}, but the verdict's is "
            f"{known['specification_sha256'][:16]}: the argument, the property, its grammar, the properties "
            "preserved or the stories are not those it was made with."
        )
    return Seal(
        identity,
        case.base.sha256,
        case.edited.sha256,
        seed,
        known["attempt"],
        known["alpha"],
        known["ledger_chain"],
    )


def _same(stored: Mapping[str, Any], again: Mapping[str, Any]) -> None:
    """Raise `TamperedError` with the first part of a verdict that its rows do not give."""
    for key in again:
        if key in ("base", "edited", "rerun", "edit"):
            continue
        if not agree(stored.get(key), again[key], RECOMPUTED):
            raise TamperedError(f"verdict.json: {key!r} is not what the rows give: it was changed.")


def _drawn(
    files: Mapping[str, RowFile], blocks: Mapping[str, int], seal: Seal, share: float
) -> list[tuple[str, int]]:
    """Blocks in a seeded order until they hold the share of all rows."""
    whole = [
        (name, block) for name, file in files.items() for block in range(-(-len(file.rows) // blocks[name]))
    ]
    order = sorted(whole, key=lambda one: derive_seed("recheck", seal.seed, *one))
    wanted = share * sum(len(file.rows) for file in files.values())
    taken: list[tuple[str, int]] = []
    held = 0
    for name, block in order:
        if held >= wanted:
            break
        taken.append((name, block))
        held += min(blocks[name], len(files[name].rows) - block * blocks[name])
    return taken
