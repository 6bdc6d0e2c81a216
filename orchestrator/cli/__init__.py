"""The command line: text in, exit code out; the only package that prints."""
