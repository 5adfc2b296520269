"""Stop strings: looked for as if after every token, mostly by one decoding of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tinyalign.engine.sampling import Request, Row

if TYPE_CHECKING:
    from tinyalign.models import StoryModel


@dataclass(frozen=True)
class Found:
    """A stop string: complete after so many new tokens, with so many characters of text before it."""

    tokens: int
    cut: int


class Stops:
    """Looks for stop strings as if after every token, mostly by one decoding a chunk."""

    def __init__(self, model: StoryModel, request: Request) -> None:
        self.model, self.stop = model, request.stop
        self.seen: dict[int, int] = {}
        self.begins = [len(model.decode(ids)) for ids in request.encoded] if request.stop else []
        # A text goes on as it began, so a stop string once complete stays in it, unless the tokenizer tidies
        # spaces afterwards or half a character stands at the end: then every token is looked at.
        tidies = getattr(model.tokenizer, "clean_up_tokenization_spaces", False)
        self.every_token = bool(tidies) or any("\ufffd" in string for string in request.stop)

    def __bool__(self) -> bool:
        return bool(self.stop)

    def find(self, index: int, row: Row, prompt: int) -> Found | None:
        """The first stop string among the tokens that came since this story was last looked at."""
        if not self.stop:
            return None
        seen, size = self.seen.pop(index, 0), len(row.tokens) - row.start
        if size > seen and self._may_stand(row, prompt, size):
            for tokens in range(seen + 1, size + 1):
                cut = self._cut(row, prompt, tokens)
                if cut is not None:
                    return Found(tokens, cut)
        self.seen[index] = size
        return None

    def _may_stand(self, row: Row, prompt: int, size: int) -> bool:
        """Whether some stop string may have been complete after one of the tokens up to `size`."""
        if self.every_token:
            return True
        text = self._text(row, prompt, size)
        # Bytes that are no character take those before them along, which may have been one.
        return "\ufffd" in text or any(string in text for string in self.stop)

    def _cut(self, row: Row, prompt: int, tokens: int) -> int | None:
        text = self._text(row, prompt, tokens)
        return min((place for place in map(text.find, self.stop) if place >= 0), default=None)

    def _text(self, row: Row, prompt: int, tokens: int) -> str:
        return self.model.decode(row.tokens[: row.start + tokens])[self.begins[prompt] :]
