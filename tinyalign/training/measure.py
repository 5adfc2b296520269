"""Everything that a model card says of a model, measured: `python -m tinyalign.training.measure MODEL`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinyalign.common.files import write_json
from tinyalign.common.resources import data_folder, shared_folder
from tinyalign.ternary import ternary_layers
from tinyalign.training.evaluation import evaluate
from tinyalign.training.memorisation import measure_memorisation
from tinyalign.training.occurrence import occurrences
from tinyalign.training.recipe import Recipe, read_recipe
from tinyalign.training.sampled import quality_of, sampled_stories
from tinyalign.training.sources import fold_newlines, gather, validation_stories

if TYPE_CHECKING:
    from tinyalign.models.story_model import StoryModel

SAMPLES = 200
SHOWN = 3


def measure(
    model: StoryModel,
    recipe: Recipe | None,
    *,
    seed: int = 0,
    prompts: int = 200,
    samples: int = SAMPLES,
) -> dict[str, Any]:
    """The evaluation on the held-out stories, samples with their figures, trits, and memorisation.

    Memorisation is compared with the stories of `recipe` (left out where that is None). Of the samples the
    first three are kept as text: not picked.
    """
    begun = time.monotonic()
    found = evaluate(model, samples=0, admission_prompts=prompts, seed=seed).to_json()
    stories = sampled_stories(model, samples, seed)
    texts = [fold_newlines(story.text) for story in stories]
    found["samples"] = quality_of(stories, seed).to_json()
    found["first_samples"] = texts[:SHOWN]
    found["outcomes_in_samples"] = [row.to_json() for row in occurrences(texts)]
    found["share_of_zero_trits"] = {
        name: float((layer.trits == 0).float().mean())
        for name, layer in ternary_layers(model.network).items()
    }
    if recipe is not None and shared_folder("tinystories") is not None:
        training = gather(recipe.data).texts
        found["memorisation"] = measure_memorisation(texts, validation_stories(), training).to_json()
    found["measuring_seconds"] = time.monotonic() - begun
    return found


def main() -> None:
    """Measure a model by name and write data/measurements/eval_NAME.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="an embedded name, or whatever tinyalign.load takes")
    parser.add_argument("--recipe", help="recipe whose training text the samples are compared with")
    parser.add_argument("--prompts", type=int, default=200, help="prompts a property")
    chosen = parser.parse_args()
    from tinyalign.models import load

    recipe = read_recipe(chosen.recipe) if chosen.recipe else None
    name = Path(chosen.model).name
    target = data_folder() / "measurements" / f"eval_{name}.json"
    write_json(target, measure(load(chosen.model), recipe, prompts=chosen.prompts))
    print(f"wrote {target.name}")


if __name__ == "__main__":
    main()
