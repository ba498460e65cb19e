"""Load, save and number still pictures."""
