"""From committed segments to a verified, published output."""
