"""What a fleet gains and costs: workers of `orchestrator work` on one journal in PostgreSQL."""
