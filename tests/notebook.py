"""Runs a notebook, and keeps of it what is the same in every run: cells, outputs and pictures.

After a change of the notebook: ``python tests/notebook.py examples/one_edge.ipynb``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from adarts_ext.files import write_atomic


def run_notebook(path: Path, folder: Path) -> NotebookNode:
    """Run a notebook's cells in a folder, and return it with what came out of them."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, kernel_name="python3", timeout=300, record_timing=False)
    client.execute(cwd=str(folder))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return notebook


def main(path: Path) -> None:
    """Write a notebook anew, with the outputs of a run."""
    text = nbformat.writes(run_notebook(path, path.parent)) + "\n"
    write_atomic(path, lambda file: file.write(text.encode()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
