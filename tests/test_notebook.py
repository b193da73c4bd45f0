"""docs/notebook.ipynb runs from top to bottom."""

from pathlib import Path

import nbformat
from beside import TIMEOUT
from nbclient import NotebookClient

REPOSITORY = Path(__file__).resolve().parent.parent
NOTEBOOK = REPOSITORY / "docs" / "notebook.ipynb"


def test_notebook_runs_and_shows_the_pictures_that_it_was_stored_with(tmp_path):
    (tmp_path / "docs").mkdir()
    for name in ("lib", "models"):
        (tmp_path / name).symlink_to(REPOSITORY / name)
    notebook = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    stored = [pictures(cell) for cell in notebook.cells]
    NotebookClient(notebook, timeout=TIMEOUT, resources={"metadata": {"path": str(tmp_path / "docs")}}).execute()
    assert [pictures(cell) for cell in notebook.cells] == stored and sum(stored) > 5


def pictures(cell):
    """How many pictures a cell shows."""
    return sum("image/jpeg" in output.get("data", {}) for output in cell.get("outputs", []))
