"""Checks based on a film's index: whether the film is complete, and its encoding. No picture is decoded."""
