"""Labelled films: what each shows, how it is made, and which rules find it."""
