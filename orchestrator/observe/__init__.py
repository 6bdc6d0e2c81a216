"""Subscribers of the engine's events: progress and logs; they know events and nothing of the engine."""
