"""Commands that do something with a model: sample, convert, demo."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tinyalign.cli.output import JsonFlag, print_json

if TYPE_CHECKING:
    from tinyalign.engine import Story
    from tinyalign.engine.light import LightStory
    from tinyalign.engine.sampling import Cache

ModelArgument = Annotated[str, typer.Argument(help="A name, a Hugging Face folder, or a llama2.c .bin file.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
    app.command()(sample)
    app.command()(convert)


def sample(
    model: ModelArgument,
    prompt: Annotated[str, typer.Option("-p", "--prompt", help="How the story begins.")] = "Once upon a time",
    n: Annotated[int, typer.Option("-n", help="How many stories.")] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same stories.")] = 0,
    max_new_tokens: Annotated[int, typer.Option(help="Longest continuation.")] = 200,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.8,
    top_k: Annotated[int | None, typer.Option(help="Keep the k likeliest tokens.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Keep the likeliest tokens up to this share.")] = None,
    stop: Annotated[list[str] | None, typer.Option(help="End a story at this string (repeatable).")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer file.")] = None,
    backend: Annotated[str, typer.Option(help="auto, cpu (compiled C++), cuda, static, or torch.")] = "auto",
    threads: Annotated[int, typer.Option(help="Threads of the cpu backend.")] = 1,
    cache: Annotated[str, typer.Option(help="Keys and values as float32 or int8.")] = "float32",
    json: JsonFlag = False,
) -> None:
    """Sample stories that continue a prompt."""
    # The folders that tinyalign ships and writes need neither torch nor transformers to tell a story.
    if backend in ("auto", "cpu") and cache == "float32" and not json and not stop and tokenizer is None:
        from tinyalign.engine.light import light_sample

        light = light_sample(
            model,
            prompt,
            n=n,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            seed=seed,
            threads=threads,
        )
        if light is not None:
            _print_stories(light)
            return
    from tinyalign.engine import sample as draw
    from tinyalign.models import load

    loaded = load(model, tokenizer=tokenizer, device=backend if backend in ("cpu", "cuda") else None)
    stories = draw(
        loaded,
        prompt,
        n=n,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        stop=stop or (),
        seed=seed,
        backend=backend,
        threads=threads,
        cache=cast("Cache", cache),
    )
    if json:
        print_json(
            {
                "model": loaded.name,
                "sha256": loaded.sha256,
                "seed": seed,
                "stories": [s.to_json() for s in stories],
            }
        )
        return
    _print_stories(stories)


def _print_stories(stories: Iterable[Story | LightStory]) -> None:
    for story in stories:
        print(f"--- {story.index} ({story.stopped}) ---")
        print(story.prompt + story.text)


def convert(
    source: Annotated[str, typer.Argument(help="A name, a folder, a .bin file, or a foreign checkpoint.")],
    target: Annotated[
        Path, typer.Argument(help="A folder (Hugging Face) or a file ending in .bin (llama2.c).")
    ],
    bits: Annotated[float | None, typer.Option(help="1.58, 1, 16 or 32 bits a weight.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML file that names a foreign model's keys.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer file; 'none' for token ids only.")] = None,
    json: JsonFlag = False,
) -> None:
    """Convert between Hugging Face folders, llama2.c files and bit widths."""
    from tinyalign.models import convert as run

    chosen = False if tokenizer == "none" else tokenizer
    model = run(source, target, bits=bits, mapping=mapping, tokenizer=chosen)
    if json:
        print_json({"written": str(target), **model.to_json()})
        return
    print(f"Wrote {target}: {model.config.architecture}, {model.bits:g} bits, identity {model.sha256[:16]}.")
    if model.conversion is not None:
        print(
            f"{model.conversion.layers} layers were rounded without training: expect a much worse model "
            "(`tinyalign eval` measures how much)."
        )
