"""The settings: command line options, values, and sources."""
