"""The rules: what each checks, why, where it comes from, and what to do. `preflight/rulebook.py` lists them."""
