"""What other people's code may raise when it cannot do something here: a reason, not the end of a run."""

from __future__ import annotations

from tinyalign.common.errors import TinyalignError

# Memory that runs out on a GPU is a RuntimeError; failed assertions are how some libraries refuse a shape.
FAILURES: tuple[type[Exception], ...] = (
    TinyalignError,
    ImportError,
    RuntimeError,
    MemoryError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OSError,
    AssertionError,
)


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
