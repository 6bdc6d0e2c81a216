"""`orchestrator schema`."""

from __future__ import annotations

import json

from orchestrator.cli.invocation import Invocation, takes_settings


@takes_settings(unused=("state", "progress", "log_max_size"))
def schema(invocation: Invocation) -> None:
    """Print the JSON Schema of a manifest.

    Editors complete and check YAML manifests with it.

    \b
    Examples:
      orchestrator schema > manifest.schema.json
      # then, as the first line of a manifest:
      # yaml-language-server: $schema=./manifest.schema.json
    """
    from orchestrator.manifest.schema import manifest_schema  # noqa: PLC0415 - keeps --help quick

    invocation.output.write_data(json.dumps(manifest_schema(), indent=2, ensure_ascii=False) + "\n")
