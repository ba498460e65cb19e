"""Commands beside the run: compare, degrade, convert, look and demo."""
