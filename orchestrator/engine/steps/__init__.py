"""The steps of an entry's life, one module each."""
