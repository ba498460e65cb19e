"""Light-field formats: many views in one recording."""
