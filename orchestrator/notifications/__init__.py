"""Notifications to people and programs about a batch, each sent once: their content, delivery and timing."""
