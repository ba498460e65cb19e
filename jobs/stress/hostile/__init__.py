"""The hostile pass: real commands run on files, folders, plans and caches from a stranger."""
