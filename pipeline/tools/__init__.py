"""What the commands other than `run` do: compare, convert, verify, submit and more."""
