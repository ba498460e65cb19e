"""The HTML report on a finished run: one self-contained page."""
