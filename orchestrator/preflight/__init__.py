"""Checks of films and files before anything is sent: the rules and their findings."""
