"""The settings: their options on the command line, their values, and the places they come from."""
