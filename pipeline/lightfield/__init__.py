"""Light-field formats: many views as one recording."""
