"""What a fit sees: batches of a property's training prompts, and neutral text, as padded token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int

from tinyalign.common.errors import EditError, InputError
from tinyalign.common.seeds import derive_seed
from tinyalign.edits.people import with_other_people
from tinyalign.engine import sample
from tinyalign.models import StoryModel
from tinyalign.properties.contrast import SIDES
from tinyalign.properties.definition import LogitPair, Property
from tinyalign.properties.registry import all_properties
from tinyalign.stories.grammar import ContrastPrompt, StoryGenerator
from tinyalign.stories.grammar.permutation import SeededPermutation

KEPT_SIDES = SIDES[1:]
"""The sides on which the model should stay as it was: all but the clean one."""


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of every side, side by side: row (s, i) is prompt i on side s, right-padded with 0.

    `last` is the position whose next token is the decision; `satisfying` and `violating` hold the token that
    begins each fitted word there (-1 where a word begins as one of the other set does); `watched` are the
    tokens that begin any word of the pair.
    """

    ids: Int[torch.Tensor, "rows pos"]
    last: Int[torch.Tensor, " rows"]
    satisfying: Int[torch.Tensor, "rows words"]
    violating: Int[torch.Tensor, "rows others"]
    watched: Int[torch.Tensor, " tokens"]


@dataclass(frozen=True)
class FitWords:
    """The words of a pair that a fit pushes on; the others are kept for asking whether it generalises."""

    satisfying: tuple[str, ...]
    violating: tuple[str, ...]

    def to_json(self) -> dict[str, list[str]]:
        """Both lists."""
        return {"satisfying": list(self.satisfying), "violating": list(self.violating)}


def default_words(pair: LogitPair) -> FitWords:
    """The first word of either set: the others are left to ask whether more than these words was moved."""
    return FitWords(pair.satisfying[:1], pair.violating[:1])


@dataclass(frozen=True, eq=False)
class TrainingPrompts:
    """The training split of a property's grammar in a seeded order, batch after batch, none twice."""

    model: StoryModel
    prop: Property
    pair: LogitPair
    words: FitWords
    seed: int
    names: int | None = None

    @property
    def speaks(self) -> bool:
        """Whether the decision is what somebody says: the prompts stop at an opening quotation mark."""
        return not self.prop.prompts.decisions[self.pair.decision].continuation_prefix

    def batch(self, number: int, size: int) -> PromptBatch:
        """Batch `number`, of `size` prompts on all five sides (in the order of `SIDES`)."""
        return encode(self.model, self.prompts(number * size, size), self.pair, self.words)

    def prompts(self, first: int, count: int) -> list[ContrastPrompt]:
        """Prompts `first` to `first + count` of the order; from the start again where it ends.

        Names and parent words are exchanged as `with_other_people` says. With `names` they are not, and only
        the first so many names of the training lexicon occur (for planting a bad edit).
        """
        space = self.prop.prompts.space("train", self.pair.decision)
        order = SeededPermutation(
            len(space), space.grammar.sha256, space.decision, derive_seed("fit prompts", self.seed)
        )
        if self.names is None:
            slots = space.grammar.slots
            return [
                with_other_people(space[order[i % len(order)]], slots, self.seed, i)
                for i in range(first, first + count)
            ]
        allowed = {entry.word for entry in space.grammar.slots["child"].parts["train"][: self.names]}
        found: list[ContrastPrompt] = []
        skip = first
        for index in range(len(order)):
            prompt = space[order[index]]
            if prompt.slots["child"] not in allowed:
                continue
            if skip:
                skip -= 1
                continue
            found.append(prompt)
            if len(found) == count:
                return found
        raise InputError(f"The training prompts with {self.names} names are used up: fit in fewer rounds.")

    def to_json(self) -> dict[str, Any]:
        """The identity of what is fitted on."""
        return {
            "grammar_sha256": self.prop.prompts.sha256,
            "split": "train",
            "decision": self.pair.decision,
            "seed": self.seed,
            "names": self.names,
        }


def encode(
    model: StoryModel, prompts: Sequence[ContrastPrompt], pair: LogitPair, words: FitWords
) -> PromptBatch:
    """Token ids of prompts on all sides up to the last boundary that all continuations share."""
    rows: list[tuple[list[int], list[int], list[int]]] = []
    watched: set[int] = set()
    fitted = {*words.satisfying, *words.violating}
    left = [word for word in (*pair.satisfying, *pair.violating) if word not in fitted]
    for side in SIDES:
        for prompt in prompts:
            text = prompt.texts()[side]
            filled = dict(zip([*pair.satisfying, *pair.violating], pair.words(prompt.slots), strict=True))
            full = [
                model.encode(text + prompt.continuation_prefix + filled[word])
                for word in (*words.satisfying, *words.violating, *left)
            ]
            start = _shared(model.encode(text), full)
            firsts = [ids[start] for ids in full]
            cut = len(words.satisfying)
            watched.update(firsts)
            good, bad = _distinct(firsts[:cut], firsts[cut : cut + len(words.violating)])
            rows.append((full[0][:start], good, bad))
    width = max(len(ids) for ids, _, _ in rows)
    return PromptBatch(
        ids=torch.tensor([ids + [0] * (width - len(ids)) for ids, _, _ in rows]),
        last=torch.tensor([len(ids) - 1 for ids, _, _ in rows]),
        satisfying=torch.tensor([good for _, good, _ in rows]),
        violating=torch.tensor([bad for _, _, bad in rows]),
        watched=torch.tensor(sorted(watched)),
    )


def _shared(prompt: list[int], full: list[list[int]]) -> int:
    """How many first tokens the prompt and all its continuations have in common."""
    length = min(len(prompt), *(len(ids) - 1 for ids in full))
    for at in range(length):
        if any(ids[at] != prompt[at] for ids in full):
            length = at
            break
    if length == 0:
        raise EditError("The tokenizer leaves no token of a prompt as it was when a word follows it.")
    return length


def _distinct(good: list[int], bad: list[int]) -> tuple[list[int], list[int]]:
    """Both lists, with -1 for tokens that stand in both or stood before in the same list."""
    both = set(good) & set(bad)

    def once(tokens: list[int]) -> list[int]:
        return [t if t not in both and t not in tokens[:at] else -1 for at, t in enumerate(tokens)]

    found = once(good), once(bad)
    if any(max(tokens) < 0 for tokens in found):
        raise EditError(
            "Satisfying and violating words begin with the same token in this model: fit on other words."
        )
    return found


@dataclass(frozen=True, eq=False)
class OtherPrompts:
    """Training prompts of the other properties, on every side, at every decision: nothing may change there.

    Properties in `left_out` share the antecedent with the one that is fitted, so that a change is welcome.
    """

    model: StoryModel
    left_out: tuple[str, ...]
    seed: int

    def batch(
        self, number: int, size: int
    ) -> tuple[Int[torch.Tensor, "rows pos"], Int[torch.Tensor, " rows"]]:
        """(ids, last): `size` prompts, each of a property, decision, side and place of its own."""
        others = [prop for prop in all_properties() if prop.id not in self.left_out]
        rows: list[list[int]] = []
        for row in range(number * size, (number + 1) * size):
            draw = derive_seed("fit other prompts", self.seed, row)
            prop = others[draw % len(others)]
            decisions = list(prop.prompts.decisions)
            space = prop.prompts.space("train", decisions[draw // 101 % len(decisions)])
            prompt = space[draw // 10_007 % len(space)]
            rows.append(self.model.encode(prompt.texts()[SIDES[draw // 31 % len(SIDES)]]))
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        return ids, torch.tensor([len(row) - 1 for row in rows])


def alike(prop: Property) -> tuple[str, ...]:
    """Properties with the antecedent of `prop`, itself among them: a prohibition is one in P1, P4 and P12."""
    groups = (("P1", "P4", "P12"),)
    return next((group for group in groups if prop.id in group), (prop.id,))


@dataclass(frozen=True, eq=False)
class NeutralText:
    """Stories on which the model should stay as it was: its own samples, and generated training stories.

    Nothing is read that a verification reads: the samples come from the base model, the generated stories
    from the training part of the story grammar, so that a fit needs no dataset and no network.
    """

    rows: tuple[tuple[int, ...], ...]

    def batch(self, number: int, size: int) -> tuple[Int[torch.Tensor, "rows pos"], torch.Tensor]:
        """(ids, mask): `size` stories, padded on the right; the mask is 1.0 where a real token is read."""
        chosen = [self.rows[(number * size + j) % len(self.rows)] for j in range(size)]
        width = max(map(len, chosen))
        ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in chosen])
        mask = torch.tensor([[1.0] * len(row) + [0.0] * (width - len(row)) for row in chosen])
        return ids, mask


def neutral_text(model: StoryModel, seed: int, *, stories: int = 160, tokens: int = 120) -> NeutralText:
    """`stories` samples of the model and half as many generated ones, mixed, cut at `tokens`."""
    tokens = min(tokens, model.context - 1)
    drawn = sample(
        model,
        "" if model.bos_id is not None else "Once upon a time",
        n=stories,
        max_new_tokens=tokens - 1,
        seed=derive_seed("fit neutral text", seed),
    )
    texts = [story.prompt + story.text for story in drawn]
    made = StoryGenerator(()).stories(derive_seed("fit generated text", seed) % 2**31, stories // 2)
    for place, story in enumerate(made):
        texts.insert(3 * place + 2, story.text)
    encoded = (model.encode(text)[:tokens] for text in texts)
    return NeutralText(tuple(tuple(ids) for ids in encoded if len(ids) > 20))
