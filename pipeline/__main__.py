"""Run the command `pipeline` as `python -m pipeline`.

`python -m` puts the current folder first on the import path, so that a file named `json.py` there
would shadow Python's own module. The folder is removed below, before the command is imported. By
then, however, Python has already imported the package `pipeline` and everything that it imports.
In a folder whose Python files you do not trust, therefore use the command `pipeline`, or
`python -P -m pipeline`.
"""

import sys


def leave_current_folder() -> None:
    """Remove the current folder from the import path, unless it contains this package."""
    # build the path by hand, because importing pathlib could run a file in the current folder
    separator = "\\" if sys.platform == "win32" else "/"
    own = separator.join((sys.path[0], "pipeline", "__main__.py"))
    if not sys.flags.safe_path and __file__ != own:
        del sys.path[0]


if __name__ == "__main__":
    leave_current_folder()
    from pipeline.cli.main import main

    main()
