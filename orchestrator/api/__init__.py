"""The Python API: settings, and a batch to check, plan, run and follow (docs/api.md)."""
