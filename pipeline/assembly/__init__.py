"""Turn committed segments into a verified, published output."""
