"""Join encoded segments and copied streams into an output, and verify it."""
