"""What `doctor` checks, each kind in a module of its own; nothing here writes or changes anything."""
