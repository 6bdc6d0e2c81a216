"""A local MetaStudio and object store with faults, for the demo, the tests and rehearsals."""

from orchestrator.simulator.faults import FAULTS, OPERATIONS, Fault, Faults, parse_faults
from orchestrator.simulator.inspection import JobView
from orchestrator.simulator.options import ObjectStoreOptions, SimulatorOptions
from orchestrator.simulator.server import Simulator, serve
from orchestrator.simulator.stats import Stats

__all__ = [
    "FAULTS",
    "OPERATIONS",
    "Fault",
    "Faults",
    "JobView",
    "ObjectStoreOptions",
    "Simulator",
    "SimulatorOptions",
    "Stats",
    "parse_faults",
    "serve",
]
