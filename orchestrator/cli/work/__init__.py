"""What each command does; `cli/commands` has what it takes, under the same name."""
