"""The HTML report about a finished run: one self-contained page."""
