"""The commands, one module each: what they take and what their help says.

They import what they need when they run, so that `orchestrator --help` answers at once.
"""
