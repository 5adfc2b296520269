"""The sections around the leaves: what was checked, doubts, assumptions, limits, how to re-run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import cast

from tinyalign.report.fields import Fields
from tinyalign.report.listing import facts, full_hash, short_hash, shown, table
from tinyalign.report.marks import badge, icon, look
from tinyalign.report.markup import Html, each, fragment, tag
from tinyalign.report.numbers import number, together, unit_words
from tinyalign.report.reading import Document, Node


def hero(document: Document) -> Html:
    """The verdict: sign, word and sentence, the tally of leaves, and the leaves that stand in the way."""
    status = look(document.verdict)
    against = document.against()
    # The list says with links what the sentence goes on to say.
    told = any(node.id in document.rest for node in against)
    word = tag("span", icon("leaf", document.verdict, 30), f"{status.word.capitalize()}:", class_="word")
    return tag(
        "section",
        tag("h1", word, " ", document.opening, id="verdict"),
        tag("p", document.rest) if document.rest and not told else None,
        tag("p", tally(document), class_="tally"),
        tag("ul", each(_against(node) for node in against)) if against else None,
        class_=f"hero {status.css}",
        aria_labelledby="verdict",
    )


def _against(node: Node) -> Html:
    words = node.result.summary if node.result and node.result.summary else node.text
    return tag("li", badge(node.status), " ", tag("a", node.id, href=f"#{node.anchor}"), f" {words}")


def tally(document: Document) -> str:
    """How many leaves stand how, and how many doubts, in words. An attack is told by its doubt."""
    words = _counted([leaf.status for leaf in document.supports], "leaf", "leaves")
    doubts = [node.status for node in document.tree.walk() if node.kind == "defeater"]
    words += f"; {_counted(doubts, 'doubt', 'doubts')}" if doubts else ""
    return f"{words}; exit code {document.exit_code}."


def _counted(statuses: Sequence[str], one: str, many: str) -> str:
    total = f"{len(statuses)} {one if len(statuses) == 1 else many}"
    counts = Counter(statuses)
    if len(counts) == 1:
        return f"{total}: {'' if len(statuses) == 1 else 'all '}{look(statuses[0]).word}"
    return f"{total}: " + ", ".join(f"{count} {look(status).word}" for status, count in counts.most_common())


def subject(document: Document) -> Html:
    """The property, the two models and the edit."""
    prop, pair = document.prop, document.pair
    about = facts(
        [
            ("Property", f"{_str(prop, 'id')} {_str(prop, 'name')}".strip()),
            ("Stands for", _str(prop, "parallel")),
            ("When", _str(prop, "antecedent")),
            ("Holds", _str(prop, "satisfied")),
            ("Is broken", _str(prop, "violated")),
            ("Words compared", _pair(pair)),
            ("Also preserved", ", ".join(document.preserved)),
            ("Argument", _str(document.argument, "about") or _str(document.argument, "name")),
        ]
    )
    models = facts([("Before", _model(document.base)), ("After", _model(document.edited))])
    edit = fragment(tag("h3", "The models"), models, tag("h3", "The edit"), _edit(document.edit))
    return tag(
        "div",
        tag(
            "div",
            tag("div", tag("h3", "The property"), about, class_="card"),
            _localization(document.localization),
            class_="stack",
        ),
        tag("div", tag("div", edit, class_="card"), class_="stack"),
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
    said = _str(edit, "description")
    flipped, bits = edit.get("trits_flipped"), edit.get("description_bits")
    listed = facts(
        [
            ("Method", _str(edit, "method")),
            ("Flipped", f"{shown(flipped)} trits" if flipped is not None else None),
            ("Description", f"{shown(bits)} bits" if bits is not None else None),
            ("Within", shown(edit["components"]) if edit.get("components") else None),
            ("Changes", shown(edit["sites"]) if edit.get("sites") else None),
            ("Fitted on", shown(edit["prompts"]) if edit.get("prompts") else None),
        ]
    )
    return fragment(tag("p", said) if said else None, listed, _more(edit))


_TOLD = (
    "method",
    "description",
    "trits_flipped",
    "description_bits",
    "sites",
    "components",
    "prompts",
    "diff",
)


def _more(edit: Mapping[str, object]) -> Html:
    """What the edit changes tensor by tensor, and all else that its record says."""
    lines = [line for line in _str(edit, "diff").splitlines() if line]
    others = {key: value for key, value in edit.items() if key not in _TOLD}
    listed = tag("ul", each(tag("li", line) for line in lines), class_="small")
    return fragment(
        tag("details", tag("summary", "Every changed tensor"), listed) if lines else None,
        tag("details", tag("summary", "The edit's whole record"), table(others)) if others else None,
    )


def _localization(found: Mapping[str, object]) -> Html | None:
    """Which components carry the effect, against random ones; None where no localization was given."""
    if not found:
        return None
    fields, unit = Fields("verdict.localization", found), _str(found, "unit")

    def measured(key: str) -> str | None:
        if not fields.has(key):
            return None
        ends = [fields.below(key).number(end) for end in ("estimate", "low", "high")]
        estimate, low, high = together(ends, unit)
        return f"{estimate} [{low}, {high}]{unit_words(unit)}"

    rivals = fields.below("random").number("p95") if fields.has("random") else None
    against = (
        f"at most {number(rivals, unit)}{unit_words(unit)} in 95% of sets" if rivals is not None else None
    )
    rows: list[tuple[str, object]] = [
        ("Components", tag("b", shown(found.get("components") or ()))),
        ("Their effect", measured("effect")),
        ("Lost without", measured("lost")),
        ("Random ones", against),
        ("Measured on", shown(found["held_out"]) if fields.has("held_out") else None),
    ]
    return tag("div", tag("h3", "What carries it"), facts(rows), class_="card")


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
