"""A local web page for runs: choose files, see the plan, start, watch, pause and download."""
