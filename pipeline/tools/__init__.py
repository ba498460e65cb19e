"""The commands other than runs: comparing, converting, checking, submitting and more."""
