"""A small argument over whole stories, and a model that fails it."""

from __future__ import annotations

from typing import Any

from tests.verification.models import edited, tiny_base
from tinyalign.models import StoryModel

ARGUMENT: dict[str, Any] = {
    "name": "small",
    "about": "Damage on whole stories.",
    "limits": ["A test."],
    "claim": {
        "id": "0",
        "text": "{property}: nothing is damaged",
        "children": [
            {
                "leaf": {
                    "kind": "neutral-damage",
                    "id": "1-loss",
                    "claim": "The loss stays",
                    "margin": 0.02,
                    "samples": 40,
                    "tokens": 12,
                }
            },
            {
                "leaf": {
                    "kind": "story-fall",
                    "id": "2-stories",
                    "claim": "Violations do not rise",
                    "margin": -0.5,
                    "bad": "violated",
                    "samples": 10,
                    "max_new_tokens": 6,
                }
            },
            {"assumption": {"id": "3", "text": "Nothing else matters"}},
        ],
    },
}


def damaged() -> StoryModel:
    """Noise on the unembedding."""
    return edited(tiny_base(), "lm_head.weight", 0.6)
