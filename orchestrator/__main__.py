"""Lets `python -m orchestrator` do what the `orchestrator` command does."""

from orchestrator.cli.program import main

if __name__ == "__main__":
    main()
