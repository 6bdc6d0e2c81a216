"""The entry point: runs one command, returns its exit code, and prints one sentence for any error."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from orchestrator import __version__
from orchestrator.cli.help import PROGRAM, program
from orchestrator.cli.output import Output
from orchestrator.cli.process import (
    StoppedBySignal,
    Stopper,
    drop_unusable_key_log,
    standard_streams,
    stop_on_signals,
)
from orchestrator.domain.errors import ConfigurationError, OrchestratorError, UsageError, exit_code_of
from orchestrator.domain.untrusted_text import quotable

#: Allocations between two garbage collections. Python's 700 suit small programs: starting up and a run create hardly
#: any cycles, and looking for them took a tenth of the CPU time. A whole startup makes fewer allocations than this.
_ALLOCATIONS_PER_COLLECTION = 200_000


def main(stopper: Stopper | None = None) -> NoReturn:
    """Run the command of the command line and exit with its code; *stopper* ends it on a signal."""
    gc.set_threshold(_ALLOCATIONS_PER_COLLECTION, *gc.get_threshold()[1:])
    # Pydantic would load plugins from every installed distribution and pass them the values that we validate.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    code = run_command(sys.argv[1:], stopper or stop_on_signals())
    # Collecting garbage in all loaded modules at exit would only cost time.
    gc.freeze()
    sys.exit(code)


def run_command(arguments: Sequence[str], stopper: Stopper | None = None) -> int:
    """Run one command and return its exit code; errors are printed as one sentence."""
    with standard_streams() as (stdout, stderr):
        output = Output(stdout, stderr)
        if stopper is not None:
            stopper.announce = output.print_stop
        return output.code_after(_code_of(arguments, output))


def _code_of(arguments: Sequence[str], output: Output) -> int:
    drop_unusable_key_log(output.complain)
    # Until the command sets it: an error in the arguments must be a document as well.
    output.is_json = "--json" in arguments
    try:
        given = list(arguments)
        return int(application().main(given, prog_name=PROGRAM, standalone_mode=False, obj=output) or 0)
    except typer.TyperException as error:
        context: typer.Context | None = getattr(error, "ctx", None)
        command = PROGRAM if context is None else context.command_path
        nearest: Sequence[str] = getattr(error, "possibilities", None) or ()
        message = (
            f"{error.message}; did you mean {nearest[0]}?" if nearest else error.format_message().strip()
        )
        return _fail(output, UsageError(message, hint=f"`{command} --help` shows its arguments and options"))
    except OrchestratorError as error:
        return _fail(output, error)
    except StoppedBySignal as stop:
        output.print_stop(stop)
        return stop.exit_code
    except Exception as error:  # noqa: BLE001 - the boundary: no user sees a traceback without -v
        return _fail(output, _folder_error() or _unexpected(error, output))


def application() -> Any:
    """Return the command line as typer's group of commands."""
    return program(_before_the_command)


def _before_the_command(
    context: typer.Context,
    *,
    is_version_wanted: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Upload a manifest's avatars to MetaStudio: each becomes a training job with all its files stored exactly
    once, however often the upload is interrupted.

    \b
    A first batch:
      orchestrator init studio.yaml       a commented manifest to start from
      orchestrator validate studio.yaml   list all problems at once
      orchestrator run studio.yaml        run it; run again to continue

    `orchestrator demo` shows a complete upload without an account, `orchestrator help COMMAND` how to use a command.
    """
    if is_version_wanted:
        context.obj.write(f"{PROGRAM} {__version__}\n")
    elif context.invoked_subcommand is None:
        context.obj.write(context.get_help() + "\n")
        raise UsageError("no command given")


def _unexpected(error: Exception, output: Output) -> OrchestratorError:
    """Log the traceback, masked and without locals, if the settings ask for details; return the error to report."""
    import structlog  # noqa: PLC0415 - only after a crash, when time does not matter

    from orchestrator.observe.logs import logging_to  # noqa: PLC0415

    stderr = sys.stderr if output.is_verbose else None
    # An unwritable log file must not hide the original error.
    with (
        contextlib.suppress(OrchestratorError),
        logging_to(stderr, output.log_file, is_verbose=output.is_verbose),
    ):
        structlog.get_logger().error("command.crashed", exc_info=error)
    return OrchestratorError(
        f"an unexpected error: {quotable(str(error)) or 'it has no message'}",
        code="Internal",
        hint="run again with -v or --log-file FILE and report the details that it keeps",
    )


def _folder_error() -> OrchestratorError | None:
    """Return the error for a current folder that was deleted; None if it exists."""
    try:
        Path.cwd()
    except OSError as error:
        return ConfigurationError(
            f"the current folder cannot be used: {error.strerror}", hint="change to one that exists"
        )
    return None


def _fail(output: Output, error: OrchestratorError) -> int:
    output.fail(error)
    return exit_code_of(error)
