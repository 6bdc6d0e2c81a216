"""Measures of how the code is cut: sizes, prose, imports, and the files that one upload passes through."""
