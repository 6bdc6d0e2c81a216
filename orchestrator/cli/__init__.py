"""The command line: text in, exit code out; the only place that prints."""
