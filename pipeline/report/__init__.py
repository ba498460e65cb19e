"""The HTML report on a finished run: one page that loads nothing."""
