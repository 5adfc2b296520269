"""Training: a tokenizer, packed stories, quantisation-aware training, distillation, cards and evaluation.

recipe = read_recipe("ternary")          # data/recipes/ternary.yaml, or a path
dry_run(recipe)                          # what it would cost here, from a few timed steps
run = train(recipe, "runs")              # resumable to the bit; Ctrl-C saves
run.model.save("my-model")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tinyalign.training.card import write_card
    from tinyalign.training.estimate import DryRun, dry_run
    from tinyalign.training.evaluation import Evaluation, evaluate
    from tinyalign.training.loop import TrainingRun, train
    from tinyalign.training.memorisation import Memorisation, measure_memorisation
    from tinyalign.training.recipe import Recipe, read_recipe, recipe_names

_HOME = {
    "DryRun": "estimate",
    "Evaluation": "evaluation",
    "Memorisation": "memorisation",
    "Recipe": "recipe",
    "TrainingRun": "loop",
    "dry_run": "estimate",
    "evaluate": "evaluation",
    "measure_memorisation": "memorisation",
    "read_recipe": "recipe",
    "recipe_names": "recipe",
    "train": "loop",
    "write_card": "card",
}

__all__ = [
    "DryRun",
    "Evaluation",
    "Memorisation",
    "Recipe",
    "TrainingRun",
    "dry_run",
    "evaluate",
    "measure_memorisation",
    "read_recipe",
    "recipe_names",
    "train",
    "write_card",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"tinyalign.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tinyalign.training' has no attribute {name!r}")
