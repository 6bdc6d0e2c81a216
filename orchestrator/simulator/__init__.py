"""A local MetaStudio and object store with faults, for demos, tests and rehearsals."""

from orchestrator.simulator.faults import FAULTS, OPERATIONS, Fault, Faults, parse_faults
from orchestrator.simulator.inspection import JobView
from orchestrator.simulator.options import (
    DIMENSIONS,
    ObjectStoreOptions,
    SimulatorOptions,
    World,
    parse_world,
)
from orchestrator.simulator.server import Simulator, serve
from orchestrator.simulator.stats import Stats

__all__ = [
    "DIMENSIONS",
    "FAULTS",
    "OPERATIONS",
    "Fault",
    "Faults",
    "JobView",
    "ObjectStoreOptions",
    "Simulator",
    "SimulatorOptions",
    "Stats",
    "World",
    "parse_faults",
    "parse_world",
    "serve",
]
