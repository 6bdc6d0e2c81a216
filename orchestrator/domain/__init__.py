"""The domain model: entries, states, segments, errors and retry decisions, without any I/O."""
