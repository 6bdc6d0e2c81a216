"""The product's words and rules: models, states, segments, errors and retry decisions, without any I/O."""
