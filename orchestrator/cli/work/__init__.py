"""The implementation of each command; `cli/commands` defines its arguments under the same name."""
