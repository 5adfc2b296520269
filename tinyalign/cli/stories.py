"""Commands about stories and properties: annotate, properties, property check."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the app."""
