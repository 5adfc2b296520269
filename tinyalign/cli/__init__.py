"""The command line: a thin layer over the public API. Exit codes: 0 done, 2 usage or bad input."""

from __future__ import annotations

import os
import sys

import typer

from tinyalign.cli import circuits, demo, edits, learn, look, measure, stories, verify, work
from tinyalign.common.errors import TinyalignError

app = typer.Typer(
    name="tinyalign",
    help="Change a small TinyStories model so that a property of its stories holds, and argue for it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (look, work, stories, learn, measure, circuits, edits, verify, demo):
    module.register(app)


def main() -> None:
    """Run the app; errors meant for people become one sentence and exit code 2."""
    # Models this small gain nothing from a second thread, and two processes that contend for cores with
    # several threads each are many times slower. Set the variable to have more.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        app()
    except TinyalignError as error:
        print(f"tinyalign: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        print("tinyalign: interrupted", file=sys.stderr)
        raise SystemExit(130) from error
    except BrokenPipeError as error:
        # The reader of a pipe (`| head`) went away: not an error of ours.
        sys.stderr.close()
        raise SystemExit(0) from error
