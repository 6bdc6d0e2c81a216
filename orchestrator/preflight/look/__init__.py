"""Checks of a film's pictures and sound: a quick look uses a few pictures and all sound, a deep look all pictures.

Needs the extra `preflight` (av, numpy). `measuring` opens films and runs in separate processes; `measures` is pure.
"""
