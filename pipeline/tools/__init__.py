"""What the other commands do: compare, convert, check, submit and more."""
