"""Every notebook runs from its first cell to its last, and is committed without outputs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))


def test_there_are_notebooks() -> None:
    assert [path.name for path in NOTEBOOKS][:1] == ["01_tour.ipynb"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_committed_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        assert not cell.get("outputs") and cell.get("execution_count") is None
        # Functions belong in the package: a notebook is prose, calls and pictures.
        assert cell.cell_type != "code" or not any(
            line.startswith(("def ", "class ")) for line in cell.source.splitlines()
        )


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a kernel of this very interpreter, with an empty working folder of its own."""
    # A kernel of another environment may be registered under the usual name; this one cannot be mistaken.
    kernels = tmp_path / "data" / "kernels" / "this-interpreter"
    write_kernel_spec(str(kernels))
    assert json.loads((kernels / "kernel.json").read_text(encoding="utf-8"))["argv"][0] == sys.executable
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "data"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    notebook = nbformat.read(path, as_version=4)
    work = tmp_path / "work"
    work.mkdir()
    client = nbclient.NotebookClient(
        notebook, timeout=1800, kernel_name="this-interpreter", resources={"metadata": {"path": str(work)}}
    )
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert (work / "tour" / "report.html").is_file()
    # The notebook's cheat is caught, whatever becomes of the honest edit.
    said = [output.get("text", "") for output in code[-1].outputs]
    assert any(text.startswith("Defeated: ") for text in said)
