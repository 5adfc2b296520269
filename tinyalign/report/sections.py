"""The sections around the leaves: what was checked, doubts, assumptions, limits, how to re-run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from tinyalign.report.listing import facts, full_hash, short_hash, shown
from tinyalign.report.marks import badge, icon, look
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.numbers import number
from tinyalign.report.reading import Document, Node

_PREVIEW = 40


def hero(document: Document) -> Html:
    """The verdict: sign, word and sentence, the tally of leaves, and the leaves that stand in the way."""
    status = look(document.verdict)
    against = document.with_status("defeated") or document.with_status("not established")
    return tag(
        "section",
        tag("p", icon("leaf", document.verdict, 30), tag("span", status.word.capitalize()), class_="word"),
        tag("h1", document.sentence, id="verdict"),
        tag("p", tally(document), class_="tally"),
        tag("ul", each(_against(leaf) for leaf in against)) if document.verdict != "established" else None,
        class_=f"hero {status.css}",
        aria_labelledby="verdict",
    )


def _against(leaf: Node) -> Html:
    words = leaf.result.summary if leaf.result and leaf.result.summary else leaf.text
    return tag("li", badge(leaf.status), " ", tag("a", leaf.id, href=f"#{leaf.anchor}"), f" {words}")


def tally(document: Document) -> str:
    """How many leaves stand how, in words."""
    total, good = len(document.leaves), len(document.with_status("established"))
    words = f"{good} of {total} leaves established"
    for status in ("defeated", "not established"):
        count = len(document.with_status(status))
        words += f", {count} {status}" if count else ""
    return f"{words}; exit code {document.exit_code}."


def subject(document: Document) -> Html:
    """The property, the two models and the edit."""
    prop, pair = document.property, document.pair
    about = facts(
        [
            ("Property", f"{_str(prop, 'id')} {_str(prop, 'name')}".strip()),
            ("Stands for", _str(prop, "parallel")),
            ("When", _str(prop, "antecedent")),
            ("Holds", _str(prop, "satisfied")),
            ("Is broken", _str(prop, "violated")),
            ("Words compared", _pair(pair)),
        ]
    )
    models = facts([("Before", _model(document.base)), ("After", _model(document.edited))])
    return tag(
        "div",
        tag("div", tag("h3", "The property"), about, class_="card"),
        tag(
            "div", tag("h3", "The models"), models, tag("h3", "The edit"), _edit(document.edit), class_="card"
        ),
        class_="split pair",
    )


def _str(values: Mapping[str, object], key: str) -> str:
    value = values.get(key)
    return "" if value is None else str(value)


def _pair(pair: Mapping[str, object]) -> Html | None:
    if not pair:
        return None
    sides = [
        ", ".join(map(str, cast(Sequence[object], pair.get(key) or ())))
        for key in ("satisfying", "violating")
    ]
    return fragment(f"{_str(pair, 'name')}: ", tag("b", sides[0]), " against ", tag("b", sides[1]))


def _model(model: Mapping[str, object]) -> Html:
    bits = model.get("bits")
    precision = f" ({shown(bits)} bits a weight)" if bits is not None else ""
    return fragment(_str(model, "name"), precision, " ", short_hash(_str(model, "sha256")))


def _edit(edit: Mapping[str, object] | None) -> Html:
    if edit is None:
        words = "No edit file was given: the two checkpoints are compared as they are."
        return tag("p", words, class_="muted")
    said = next((str(edit[key]) for key in ("words", "description", "describe") if edit.get(key)), None)
    flipped, bits = edit.get("trits_flipped"), edit.get("description_bits")
    listed = facts(
        [
            ("Method", _str(edit, "method")),
            ("Flipped", f"{shown(flipped)} trits" if flipped is not None else None),
            ("Description", f"{shown(bits)} bits" if bits is not None else None),
            ("Where", shown(edit["sites"]) if edit.get("sites") else None),
            ("Fitted on", shown(edit["prompts"]) if edit.get("prompts") else None),
            ("Seed", shown(edit["seed"]) if edit.get("seed") is not None else None),
        ]
    )
    return fragment(tag("p", said) if said else None, listed, _changes(edit.get("changes")))


def _changes(changes: object) -> Html | None:
    if not isinstance(changes, Sequence) or not changes:
        return None
    listed = each(
        tag("li", _change(cast(Mapping[str, object], change)))
        for change in changes
        if isinstance(change, Mapping)
    )
    return tag(
        "details",
        tag("summary", "Every changed matrix"),
        tag("ul", listed, class_="changes small", tabindex="0", role="region", aria_label="Changed matrices"),
    )


def _change(change: Mapping[str, object]) -> Html:
    indices, old, new = (change.get(key) for key in ("indices", "old", "new"))
    name = tag("code", _str(change, "name") or _str(change, "module") or _str(change, "parameter"))
    if not all(isinstance(each, Sequence) and not isinstance(each, str) for each in (indices, old, new)):
        return fragment(name, " ", shown({k: v for k, v in change.items() if k != "name"}))
    entries = list(zip(*(cast(Sequence[object], each) for each in (indices, old, new)), strict=False))
    steps = fragment(
        *(fragment(shown(i), ": ", shown(a), " → ", shown(b)) for i, a, b in entries[:_PREVIEW]), between="; "
    )
    more = f"; … ({len(entries):,} in all)" if len(entries) > _PREVIEW else ""
    return fragment(name, f" ({len(entries):,} changed; entry: old → new) ", steps, more)


def doubts(document: Document) -> Html | None:
    """The defeaters with what became of them; None where the argument raises none."""
    found = [node for node in document.tree.walk() if node.kind == "defeater"]
    if not found:
        return None
    anchors = {leaf.id: leaf.anchor for leaf in document.leaves}

    def link(name: str) -> Html:
        return tag("a", name, href=f"#{anchors[name]}") if name in anchors else fragment(name)

    def entry(node: Node) -> Html:
        tests = fragment(*(link(child.id) for child in node.children), between=", ")
        closing = fragment(" Closed, once raised, by ", link(node.closed_by), ".") if node.closed_by else None
        tested = fragment(" Searched by ", tests, ".") if node.children else None
        return tag("li", badge(node.status), " ", node.text, tested, closing, id=node.anchor)

    return tag("ul", each(entry(node) for node in found))


def assumptions(document: Document) -> Html:
    """What the argument rests on and nobody tested, from the tree and from the verdict, each once."""
    nodes = [node for node in document.tree.walk() if node.kind == "assumption"]
    said = {node.text for node in nodes}
    entries = [tag("li", tag("b", f"{node.id} "), node.text, id=node.anchor) for node in nodes]
    entries += [tag("li", text) for text in document.assumptions if text not in said]
    return tag("ul", each(entries)) if entries else tag("p", "None is stated.", class_="muted")


def limits(document: Document) -> Html:
    """What the verdict does not say."""
    listed = tag("ul", each(tag("li", text) for text in document.limits))
    return listed if document.limits else tag("p", "None are stated.", class_="muted")


def rerun(document: Document) -> Html:
    """The commands, the seal, and every hash in full."""
    seal = document.seal
    known = {
        "specification_sha256": "Specification",
        "seed": "Seed",
        "attempt": "Ledger attempt",
        "alpha": "Alpha",
    }
    rows: list[tuple[str, object]] = [(name, _sealed(seal.get(key))) for key, name in known.items()]
    rows += [(key.replace("_", " "), shown(value)) for key, value in seal.items() if key not in known]
    rows += [
        ("Base", full_hash(_str(document.base, "sha256"))),
        ("Edited", full_hash(_str(document.edited, "sha256"))),
        ("Verdict", full_hash(document.hash)),
        ("Started", document.started),
        ("Took", f"{number(document.seconds)} seconds" if document.seconds is not None else None),
    ]
    commands = each(tag("pre", command) for command in document.rerun)
    return fragment(
        tag(
            "p",
            "The same specification and checkpoints give the same seed, the same prompts and the same hash.",
        ),
        commands,
        facts(rows),
    )


def _sealed(value: object) -> object:
    if value is None:
        return None
    return full_hash(value) if isinstance(value, str) else shown(value)
