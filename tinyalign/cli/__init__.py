"""The command line: a thin layer over the public API.

Exit codes: 0 done, 2 usage or bad input, 130 interrupted, 141 nobody reads the output any more; `verify` and
`demo` give a verdict's.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import NoReturn

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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A character that the terminal's encoding lacks is written as its number.
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except TinyalignError as error:
        print(f"tinyalign: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except SystemExit as error:
        # Typer ends the process by itself where a pipe's reader went away or somebody pressed Ctrl-C.
        if isinstance(error.__context__, BrokenPipeError):
            _without_output(_BROKEN_PIPE, error)
        if isinstance(error.__context__, typer.Exit) and isinstance(
            error.__context__.__cause__, KeyboardInterrupt
        ):
            print("tinyalign: interrupted", file=sys.stderr)
        raise
    except KeyboardInterrupt as error:
        print("tinyalign: interrupted", file=sys.stderr)
        raise SystemExit(130) from error
    except OSError as error:
        if error.errno == errno.EPIPE:
            _without_output(_BROKEN_PIPE, error)
        if error.errno not in _FULL:
            raise
        print(f"tinyalign: The output cannot be written ({error.strerror}): make room.", file=sys.stderr)
        _without_output(2, error)


# What a shell reports of a program that wrote to a closed pipe (128 + SIGPIPE), and no verdict's code.
_BROKEN_PIPE = 141
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _without_output(code: int, cause: BaseException) -> NoReturn:
    """Ends the process with `code`; what is left to be written is dropped."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(code) from cause
