"""The hostile pass: files, folders, plans and caches of a stranger, given to real commands."""
