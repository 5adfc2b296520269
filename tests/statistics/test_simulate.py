"""The simulation in its quick form, and what was committed of the long one."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tinyalign.common.errors import InputError
from tinyalign.common.resources import data_folder
from tinyalign.statistics.simulate import (
    CELLS,
    Row,
    anytime_rows,
    coverage_rows,
    main,
    preservation_rows,
    simulate,
)


def assert_kept(rows: list[Row]) -> None:
    """Each row within two Monte-Carlo errors of its bound, four of its exact value where there is one."""
    for row in rows:
        assert row.holds, row
        if row.exact is not None:
            error = math.sqrt(row.exact * (1 - row.exact) / row.runs)
            assert row.measured == pytest.approx(row.exact, abs=4 * error + 1 / row.runs), row


def test_intervals_cover_in_every_cell() -> None:
    rows = list(coverage_rows(300, 1))
    assert len(CELLS) == 12 and len(rows) == 4 * len(CELLS)
    assert_kept(rows)
    exact = [row.exact for row in rows if row.method == "Clopper-Pearson"]
    assert len(exact) == 12 and all(value is not None and value >= 0.95 for value in exact)


def test_stopping_at_will_errs_no_more_than_promised() -> None:
    rows = list(anytime_rows(1_000, 1))
    assert_kept(rows)
    # What the e-processes are for: looking often at a test made for one look errs far more.
    repeated = [row.measured for row in rows if row.bound == "contrast"]
    assert len(repeated) == 2 and min(repeated) > 0.1


def test_preservation_at_the_margin_and_its_power() -> None:
    assert_kept(list(preservation_rows(1_000, 1)))


def test_the_command_writes_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "measured.json"
    code = main(["--runs", "8", "--seed", "3", "--out", str(out)])
    written = json.loads(out.read_text())
    assert code == (0 if written["all_hold"] else 1)
    assert written["rows"] == [row.to_json() for row in simulate(8, 3)]
    assert "--runs 8 --seed 3" in written["command"]
    assert f"{len(written['rows'])} rows" in capsys.readouterr().out


def test_a_broken_promise_is_seen() -> None:
    def row(measured: float, bound, promise: float) -> Row:
        return Row("g", "m", "w", "s", measured, 10_000, bound, promise)

    assert row(0.9457, "at least", 0.95).holds and not row(0.9455, "at least", 0.95).holds
    assert row(0.0543, "at most", 0.05).holds and not row(0.0545, "at most", 0.05).holds
    assert row(0.5, "contrast", 0.05).holds
    with pytest.raises(InputError, match="Shares must lie"):
        row(1.5, "at most", 0.05)
    with pytest.raises(InputError, match="at least 1"):
        simulate(0)


def test_the_committed_measurement_is_whole_and_keeps_every_promise() -> None:
    written = json.loads((data_folder() / "measurements" / "statistics.json").read_text())
    assert written["runs"] == 10_000 and written["all_hold"] is True
    rows = written["rows"]
    assert [{k: row[k] for k in ("group", "method", "what", "setting")} for row in rows] == [
        {k: row.to_json()[k] for k in ("group", "method", "what", "setting")} for row in simulate(1)
    ]
    for row in rows:
        kept = Row(**{k: v for k, v in row.items() if k not in ("monte_carlo_error", "holds")})
        assert kept.holds and kept.to_json() == row
        if row["group"] == "preservation" and row["bound"] != "contrast":
            # These bounds are wide enough to be kept without any allowance.
            below = row["bound"] == "at most"
            assert row["measured"] <= row["promise"] if below else row["measured"] >= row["promise"]
