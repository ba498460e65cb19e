"""Real situations that break tools like this one, each with a few commands and a check."""
