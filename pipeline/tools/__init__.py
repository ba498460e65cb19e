"""The work of the other commands: compare, convert, check, submit and more."""
