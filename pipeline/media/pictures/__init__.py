"""Still pictures: loading, saving and numbering."""
