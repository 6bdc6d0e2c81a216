"""Subscribers of the engine's events: progress and logs. They depend on the events, not on the engine."""
