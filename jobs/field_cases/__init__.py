"""Real situations that break tools of this kind, each as a few commands and a check."""
