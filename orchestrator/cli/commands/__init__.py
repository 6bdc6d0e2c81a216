"""The commands, one module each: what they take and what their help says.

Only the one that is called for is loaded, and it imports what it needs when it runs: so `orchestrator --help` answers
at once, and a run begins soon.
"""
