"""Reading the narration once, left to right: noun phrases become figures, pronouns find their figures."""

from __future__ import annotations

from tinyalign.stories.lexicon import people, verbs
from tinyalign.stories.naming import Naming
from tinyalign.stories.nouns import Nouns
from tinyalign.stories.page import Page, base_word
from tinyalign.stories.pronouns import HE_SHE, Pronouns
from tinyalign.stories.text import Token
from tinyalign.stories.things import Things


def read_page(tokens: list[Token], vocatives: list[frozenset[str]]) -> Page:
    """The page with its cast complete and every noun phrase and pronoun of the narration resolved.

    `vocatives[q]` are the lower-case words by which quote q calls somebody.
    """
    page = Page(tokens)
    things = Things(page)
    names = Naming(page, things)
    nouns = Nouns(page, names)
    pronouns = Pronouns(page, vocatives)
    lexicon, forms = people(), verbs()
    for index, token in enumerate(tokens):
        if token.kind != "word" or index in page.refs:
            continue
        low = token.low
        if low in HE_SHE or low in ("it", "they", "them") or (low == "her" and not page.begins_noun(index)):
            pronouns.read(index, low)
        elif page.is_name(index):
            names.read(index, token)
        elif (facts := lexicon.nouns.get(base_word(token))) is not None:
            if not nouns.read_plural_predicate(index, facts):
                nouns.read(index, token, facts)
        elif forms.lemma.get(low) in forms.certain_speech:
            things.read_speaker(index)
    _young(page)
    return page


def _young(page: Page) -> None:
    """An animal that belongs to a parent of its own species is a child; among animals, a mere name is one."""
    figures = page.cast.figures
    stated = [f for f in figures if not f.plural and f.stated]
    leads = bool(figures) and figures[0].stated and figures[0].role == "animal"
    if leads and all(f.role in ("animal", "other") for f in stated):
        for figure in figures:
            if not figure.stated and not figure.plural and figure.role == "child":
                figure.role, figure.species = "animal", "animal"
    parents = {f.species for f in figures if f.role == "parent" and f.species not in ("human", "thing")}
    for figure in figures:
        if figure.role == "animal" and figure.species in parents and figure.owner is not None:
            figure.role = "child"
