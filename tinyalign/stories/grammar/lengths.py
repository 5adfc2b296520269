"""Whether the two sides of a contrast have equally many tokens under a tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from tinyalign.common.errors import InputError
from tinyalign.stories.grammar.prompts import ContrastPrompt, PromptSpace


def equal_length(prompt: ContrastPrompt, encode: Callable[[str], list[int]]) -> bool:
    """Whether clean and corrupted have equally many tokens, and so have the two role swaps."""

    lengths = {side: len(encode(text)) for side, text in prompt.texts().items()}
    plain = lengths["clean"] == lengths["corrupted"]
    return plain and lengths["role_swap_clean"] == lengths["role_swap_corrupted"]


def sample_equal_length(
    space: PromptSpace, n: int, seed: int, encode: Callable[[str], list[int]]
) -> list[ContrastPrompt]:
    """The first `n` prompts of `space.stream(seed)` with `equal_length`, for patching position by position.

    Raises `InputError` when the whole space holds fewer.
    """
    found: list[ContrastPrompt] = []
    for prompt in space.stream(seed):
        if len(found) == n:
            break
        if equal_length(prompt, encode):
            found.append(prompt)
    if len(found) < n:
        raise InputError(
            f"Only {len(found)} prompts of {space.grammar.id} ({space.mix.label}) have sides of equal token "
            f"length under this tokenizer, {n} were asked for: ask for fewer, or another split."
        )
    return found


@dataclass(frozen=True)
class LengthReport:
    """How many of the sampled pairs a tokenizer gives equal lengths: on the plain and on the swapped side."""

    prompts: int
    equal: int
    equal_swapped: int

    def to_json(self) -> dict[str, int]:
        """A JSON-able mapping of all fields."""
        return asdict(self)


def length_report(prompts: list[ContrastPrompt], encode: Callable[[str], list[int]]) -> LengthReport:
    """Count the prompts whose clean and corrupted sides have equal token length under `encode`."""
    plain = sum(len(encode(p.clean)) == len(encode(p.corrupted)) for p in prompts)
    swapped = sum(len(encode(p.role_swap_clean)) == len(encode(p.role_swap_corrupted)) for p in prompts)
    return LengthReport(len(prompts), plain, swapped)
