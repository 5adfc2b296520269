"""Errors meant for people: one sentence with what was found, what was expected and what to do."""

from __future__ import annotations


class TinyalignError(Exception):
    """Base of every error that tinyalign raises on purpose; the command line prints it and exits with 2."""


class CheckpointError(TinyalignError):
    """A model file is damaged, unsafe, of an unsupported shape, or not where it was looked for."""


class TokenizerError(TinyalignError):
    """A tokenizer is missing, unreadable, or does not fit the model."""


class UnknownNameError(TinyalignError):
    """A name (model, property, edit method) that tinyalign does not know; the message gives the nearest."""


class EditError(TinyalignError):
    """An edit that does not fit: another base, a damaged artifact, or a fit that found nothing."""


class InputError(TinyalignError):
    """An argument, a text or a file from the user that cannot be used as it stands."""


class DataError(TinyalignError):
    """A file of the project's own data (grammar, property, recipe, checkpoint) that breaks its rules."""


def unknown_name(kind: str, name: str, known: list[str]) -> UnknownNameError:
    """An `UnknownNameError` for `name` that suggests the nearest of `known` (or lists a few of them)."""
    from difflib import get_close_matches

    by_lower = {k.lower(): k for k in known}
    near = get_close_matches(name.lower(), list(by_lower), n=3, cutoff=0.5)
    hint = ", ".join(by_lower[n] for n in near) if near else ", ".join(sorted(known)[:8])
    advice = f"did you mean {hint}?" if near else f"known are, for example, {hint}."
    return UnknownNameError(f"Unknown {kind} {name!r}: {advice}")
