"""Situations of real people that break tools of this kind, each as a small command with a check."""
