"""Subscribers of the engine's events: progress, logs and results."""
