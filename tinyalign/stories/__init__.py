"""Stories: who is in them, who says what to whom, and what then happens. Text in, annotations out."""

from tinyalign.stories.annotating import annotate
from tinyalign.stories.annotation import Character, Event, Quote, Sentence, Story

__all__ = ["Character", "Event", "Quote", "Sentence", "Story", "annotate"]
