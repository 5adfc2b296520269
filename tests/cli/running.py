"""Run a command of the app in this process."""

from __future__ import annotations

import sys

import pytest

from tinyalign.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `tinyalign ARGUMENTS`."""
    before = sys.argv
    sys.argv = ["tinyalign", *arguments]
    try:
        main()
    except SystemExit as done:
        code = done.code
    else:
        code = 0
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    return (code if isinstance(code, int) else 0), captured.out, captured.err
