"""The HTML report of a finished run, one page that loads nothing."""
