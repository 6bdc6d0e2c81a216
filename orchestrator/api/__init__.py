"""What a program can ask for: settings, and a batch to check, plan, run and follow (docs/api.md)."""
