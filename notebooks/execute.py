"""Runs notebooks top to bottom and stores them so that a second run on another machine changes only their outputs.

python notebooks/execute.py --out FOLDER NOTEBOOK...     writes copies
python notebooks/execute.py --in-place NOTEBOOK...       before a commit, on the generated captchas only
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from captcha_lib.config import CHECKOUT, InputError, data_choice
from captcha_lib.files import replacing

# Without the version of Python, which would change with every machine.
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
    },
}
# Critical only: at "warning" each kernel says that it talks over TCP, at "error" in many lines that it was interrupted.
KERNEL_ARGUMENTS = ["--log-level=50"]
# Kernels start in the notebook's folder, and the studies are not installed.
PYTHONPATH = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))


def main() -> int:
    """Returns the exit status: 0, 1 if a notebook failed, 2 for invalid arguments, 130 after Ctrl-C."""
    options = _parse()
    try:
        for path in options.notebooks:
            started = time.monotonic()
            target = path if options.in_place else options.out / path.name
            _check_target(path, target)
            notebook = _read(path)
            execute(notebook, path)
            normalise(notebook)
            with replacing(target) as part:
                nbformat.write(notebook, part)
            print(f"{target}: {time.monotonic() - started:.0f} s", flush=True)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted in {path}; nothing of it is stored", file=sys.stderr)
        return 130
    return 0


def execute(notebook: NotebookNode, path: Path) -> None:
    """Runs a notebook's cells in a fresh kernel, in the folder of `path`; the outputs replace those of `notebook`.

    Raises:
        InputError: a cell raised, or the kernel died or did not start.
    """
    client = NotebookClient(
        notebook,
        kernel_name="python3",
        extra_arguments=KERNEL_ARGUMENTS,
        record_timing=False,
        coalesce_streams=True,  # or the times at which lines were printed would show
    )
    number = 0
    try:
        # not client.execute(): it handles Ctrl-C itself and then waits for a kernel that it has shut down
        with client.setup_kernel(cwd=str(path.absolute().parent), env=os.environ | {"PYTHONPATH": PYTHONPATH}):
            for index, cell in enumerate(notebook.cells):
                number += cell.cell_type == "code"
                client.execute_cell(cell, index)
    except CellExecutionError as error:
        says = f"{error.ename}: {error.evalue}".splitlines()[0]
        first_line = cell.source.strip().splitlines()[0]
        raise InputError(f"{path}: cell {number} raised {says.rstrip(': ')} (the cell begins: {first_line})") from None
    except DeadKernelError:
        raise InputError(
            f"{path}: the kernel died in cell {number}, perhaps out of memory; free some and run it again"
        ) from None
    except RuntimeError as error:
        raise InputError(f"{path}: no kernel starts ({error}); remove .venv, and make installs it again") from None


def normalise(notebook: NotebookNode) -> None:
    """Leaves in a notebook what its cells say and print, and their tags."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({key: value for key, value in cell.metadata.items() if key == "tags"})
    code_cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(code_cells, start=1):
        cell.execution_count = number
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = number


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs notebooks top to bottom and stores their outputs.")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", type=Path, metavar="FOLDER", help="write executed copies to this folder")
    where.add_argument("--in-place", action="store_true", help="store the outputs in the notebooks themselves")
    parser.add_argument("notebooks", type=Path, nargs="+", metavar="NOTEBOOK")
    return parser.parse_args()


def _check_target(path: Path, target: Path) -> None:
    """Keeps the images of others out of the notebooks, and so out of a commit."""
    if target.resolve() == path.resolve() and data_choice() != "generated":
        raise InputError(
            f"{path}: only outputs on generated captchas are stored here; unset CAPTCHA_DATA, or give --out"
        )


def _read(path: Path) -> NotebookNode:
    try:
        return nbformat.read(path, as_version=4)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a notebook") from None
    except (ValueError, nbformat.ValidationError):
        raise InputError(f"{path}: not a notebook; name a file that Jupyter wrote") from None


if __name__ == "__main__":
    sys.exit(main())
