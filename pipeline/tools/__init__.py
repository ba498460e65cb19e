"""The work of commands beside the run: comparing, converting, checking, submitting and more."""
