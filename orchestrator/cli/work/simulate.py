"""`simulate`: serves a simulated MetaStudio on loopback until a signal stops it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from orchestrator.cli.invocation import Invocation
from orchestrator.cli.output import Output, dumped
from orchestrator.cli.process import run_async
from orchestrator.domain.errors import ConfigurationError, ExitCode, UsageError
from orchestrator.domain.quantities import parse_bytes
from orchestrator.engine.drain import until_signalled
from orchestrator.simulator import (
    ObjectStoreOptions,
    Simulator,
    SimulatorOptions,
    parse_faults,
    parse_world,
    serve,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulateRequest:
    """The simulator's options on the command line; None stands for the default.

    Without a URL in *object_store*, the built-in store is used.
    """

    port: int
    data: Path | None
    faults: Sequence[str]
    world: Sequence[str]
    store_rate: str | None
    options: Mapping[str, Any]
    object_store: Mapping[str, str]

    def simulator_options(self) -> SimulatorOptions:
        """Return the options for the simulator; raises UsageError."""
        given = {name: value for name, value in self.options.items() if value is not None}
        try:
            if self.store_rate is not None:
                given["store_bytes_per_second"] = parse_bytes(self.store_rate)
            if self.object_store["bucket"] and not self.object_store["url"]:
                raise UsageError("--bucket needs --object-store")
            given["object_store"] = (
                ObjectStoreOptions(**self.object_store) if self.object_store["url"] else None
            )
            given["world"] = parse_world(",".join(self.world))
            return SimulatorOptions(fault_rates=parse_faults(",".join(self.faults)), **given)
        except ValueError as error:
            raise UsageError(str(error).rstrip(".")) from None


def simulate_until_stopped(invocation: Invocation, request: SimulateRequest) -> ExitCode:
    """Serve until a signal, its usual end; raises UsageError or ConfigurationError if it cannot start."""
    invocation.settings()
    options = request.simulator_options()
    if options.object_store is not None and find_spec("aiobotocore") is None:
        raise ConfigurationError(
            "--object-store needs the extra object-store",
            hint="`pip install 'metastudio-orchestrator[object-store]'`",
        )
    try:
        run_async(_serve, options, request, invocation.output)
    except OSError as error:
        hint = "choose another --port or --data, or stop the simulator that uses them"
        if error.errno is None and options.object_store is not None:
            hint = "check --object-store, --bucket and the keys, or choose another --data"
        raise ConfigurationError(
            f"the simulator cannot start: {error.strerror or error}", hint=hint
        ) from None
    return ExitCode.OK


async def _serve(options: SimulatorOptions, request: SimulateRequest, output: Output) -> None:
    with until_signalled():
        await serve(
            options,
            port=request.port,
            data=request.data,
            on_listening=lambda simulator: _announce(simulator, output),
        )


def _announce(simulator: Simulator, output: Output) -> None:
    options = simulator.options
    values = {
        "endpoint": simulator.endpoint,
        "ak": options.ak,
        "sk": options.sk,
        "project_id": options.project_id,
    }
    if output.is_json:
        output.write_data(dumped(values) + "\n")
        return
    variables = {
        "ORCHESTRATOR_ENDPOINT": simulator.endpoint,
        "HUAWEICLOUD_SDK_AK": options.ak,
        "HUAWEICLOUD_SDK_SK": options.sk,
        "HUAWEICLOUD_SDK_PROJECT_ID": options.project_id,
    }
    for name, value in variables.items():
        output.write(f"export {name}={shlex.quote(value)}\n")
    output.note("export these in another terminal, then: orchestrator run MANIFEST")
    output.note("press Ctrl-C to stop the simulator")
