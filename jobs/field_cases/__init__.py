"""Real situations that break tools like this one, each with commands that recreate and check it."""
