"""A local web page for runs: choose recordings, see the plan, start, watch, pause and download."""
