"""The rules: for each its check, reason, source and remedy. `preflight/rulebook.py` lists them."""
