"""`tinyalign demo`: what works today, on a real model, in a minute, without a network."""

from __future__ import annotations

import typer

from tinyalign.cli.output import print_table, progress

_OPENING = 'Lily wanted to jump on the bed. Her mom said, "No, Lily. Do not jump." Lily'
# The properties whose contrast the demo measures: enough to see one present and one absent.
_SHOWN = ("P1", "P3", "P6", "P13")


def register(app: typer.Typer) -> None:
    """Add the command of this file to the app."""
    app.command()(demo)


def demo() -> None:
    """Load the embedded ternary model, tell a story, and measure which properties are in it."""
    from tinyalign.engine import sample
    from tinyalign.models import load
    from tinyalign.models.catalogue import embedded_names, shared_model
    from tinyalign.properties import get
    from tinyalign.properties.admission import rows
    from tinyalign.ternary import share_of_zeros, ternary_layers

    embedded = embedded_names()
    name = "ternary" if "ternary" in embedded else "stories260K" if shared_model("stories260K") else "ternary"
    model = load(name)
    config = model.config
    print(
        f"{model.name}: {config.n_parameters:,} weights, {config.n_layers} layers, "
        f"{model.bits:g} bits a weight in the blocks, identity {model.sha256[:16]}."
    )
    layers = ternary_layers(model.network)
    if layers:
        weights = sum(layer.in_features * layer.out_features for layer in layers.values())
        held = sum(layer.packed_bytes for layer in layers.values())
        zeros = sum(share_of_zeros(layer.trits) * layer.trits.numel() for layer in layers.values()) / weights
        print(
            f"Its {len(layers)} ternary layers hold {weights:,} trits in {held:,} bytes; "
            f"{zeros:.0%} of the trits are zero.\n"
        )
    story = next(sample(model, _OPENING, max_new_tokens=120, temperature=0.7, seed=1))
    print(story.prompt + story.text + "\n")
    chosen = [get(id_) for id_ in _SHOWN]
    found = list(progress(rows(model, chosen, 200, 0, other_pairs=False), len(chosen), "measuring"))
    print_table(
        ("id", "property", "contrast, nats", "95% interval", "role swap", "in this model"),
        [
            (
                row.primary.property_id,
                row.primary.property_name,
                f"{row.primary.mean.estimate:+.2f}",
                f"{row.primary.mean.low:+.2f} to {row.primary.mean.high:+.2f}",
                f"{row.primary.role_swap.estimate:+.2f}",
                "present" if row.admitted else "not present",
            )
            for row in found
        ],
        title="How much does what the parent says move what the child does? (200 held-out prompts each)",
    )
