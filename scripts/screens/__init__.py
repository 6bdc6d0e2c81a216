"""docs/screens.md: what the program shows on terminals of two sizes, on good days and on bad ones."""
