"""Reading a YAML, CSV or Excel manifest into a batch, and reporting every problem of the file at once."""

from orchestrator.manifest.cells import csv_cells
from orchestrator.manifest.fields import COLUMNS, RESULT_COLUMNS
from orchestrator.manifest.files import LocalFiles, inspect_files
from orchestrator.manifest.manifest import Manifest, RowJob, open_manifest
from orchestrator.manifest.problems import Problem, Severity

__all__ = [
    "COLUMNS",
    "RESULT_COLUMNS",
    "LocalFiles",
    "Manifest",
    "Problem",
    "RowJob",
    "Severity",
    "csv_cells",
    "inspect_files",
    "open_manifest",
]
