"""A look at a film's pictures and sound: a few pictures and all of the sound, or, deeper, every picture.

Needs the extra `preflight` (av, numpy). `measuring` opens films and runs in processes of its own; `measures` is pure.
"""
