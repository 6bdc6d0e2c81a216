"""The command line options for settings; each is also an environment variable and a key of the config files.

The names are those of the fields of `settings.Settings`, which parses and validates the values. Defaults are
defined only here, in the form of a flag's argument: `Settings` validates them like any other value, and help and
docs/reference.md print them. They cannot be defined in `Settings`, because loading pydantic takes longer than all
of `--help`.
"""

from __future__ import annotations

from dataclasses import dataclass

ENVIRONMENT_PREFIX = "ORCHESTRATOR_"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingOption:
    """The command line option of one setting; without a *metavar* it is a switch."""

    name: str
    flags: tuple[str, ...]
    summary: str
    metavar: str | None = None
    #: None if the setting may stay unset.
    default: str | None = None
    #: Shown instead of the default: the meaning of unset, or of the default's value.
    default_note: str | None = None
    #: In a config file, a relative path is relative to the file's folder.
    is_path: bool = False
    #: May be given several times; in an environment variable, values are separated by spaces.
    is_list: bool = False
    #: The value is never shown.
    is_secret: bool = False

    @property
    def shown_default(self) -> str:
        """The default as help and documents print it; "" without one."""
        return self.default_note or self.default or ""

    @property
    def variable(self) -> str:
        """The environment variable for the setting."""
        return f"{ENVIRONMENT_PREFIX}{self.name.upper()}"


OUTPUT_OPTIONS = (
    SettingOption(
        name="state",
        flags=("--state",),
        metavar="PATH",
        summary="Where the journal is: a file, a directory, or postgresql://USER@HOST/DATABASE",
        default_note="in the user's state directory",
        is_path=True,
    ),
    SettingOption(
        name="progress",
        flags=("--progress",),
        metavar="auto|bar|plain|line|none",
        summary="How progress is shown on stderr; plain prints a line every 30 s and per change of state, "
        "line keeps a single one",
        default="auto",
        default_note="auto: bar on a terminal, else plain",
    ),
    SettingOption(
        name="quiet",
        flags=("--quiet", "-q"),
        summary="Print errors only",
        default="off",
    ),
    SettingOption(
        name="verbose",
        flags=("--verbose", "-v"),
        summary="Log every call and segment to stderr",
        default="off",
    ),
    SettingOption(
        name="log_file",
        flags=("--log-file",),
        metavar="FILE",
        summary="Append the log to FILE as JSON lines; with -v all details",
        is_path=True,
    ),
    SettingOption(
        name="log_max_size",
        flags=("--log-max-size",),
        metavar="SIZE",
        summary="Rename a log file of this size to FILE.1 and start a new one; FILE.1 to FILE.5 are kept",
        default="100M",
    ),
)

SERVICE_OPTIONS = (
    SettingOption(
        name="region",
        flags=("--region",),
        metavar="REGION",
        summary="Region of the service, for example cn-north-4",
    ),
    SettingOption(
        name="endpoint",
        flags=("--endpoint",),
        metavar="URL",
        summary="URL of the service; overrides the region's",
    ),
    SettingOption(
        name="project_id",
        flags=("--project-id",),
        metavar="ID",
        summary="Project ID; HUAWEICLOUD_SDK_PROJECT_ID sets it as well",
    ),
    SettingOption(
        name="insecure_http",
        flags=("--insecure-http/--no-insecure-http",),
        summary="Allow http:// to other machines; everything is then sent unencrypted",
        default="off",
    ),
)

MANIFEST_OPTIONS = (
    SettingOption(
        name="media_check",
        flags=("--media-check/--no-media-check",),
        summary="Check each film's index: whether it is complete, its length and its size",
        default="on",
    ),
)

LOOK_OPTIONS = (
    SettingOption(
        name="look",
        flags=("--look",),
        metavar="quick|deep|off",
        summary="Check the pictures and the sound of each film: quick decodes about 24 pictures, deep every one, "
        "which takes minutes of CPU per film",
        default="off",
    ),
    SettingOption(
        name="look_strict",
        flags=("--look-strict/--no-look-strict",),
        summary="Report what the review will likely refuse as an error",
        default="off",
    ),
)

PLAN_OPTIONS = (
    SettingOption(
        name="part_size",
        flags=("--part-size",),
        metavar="SIZE",
        summary="Part size of videos whose part count is auto: auto, or for example 16MiB",
        default="auto",
        default_note="auto, about 32MiB",
    ),
    SettingOption(
        name="submit",
        flags=("--submit/--no-submit",),
        summary="Send uploaded jobs to review, which cannot be undone",
        default_note="what the manifest says",
    ),
    SettingOption(
        name="skip_invalid",
        flags=("--skip-invalid/--no-skip-invalid",),
        summary="Send the good entries of a manifest in which others have errors, and exit with 8",
        default="off",
    ),
    SettingOption(
        name="min_age",
        flags=("--min-age",),
        metavar="TIME",
        summary="Leave entries for the next run whose files were written less than this long ago, for example 2m",
    ),
    SettingOption(
        name="on_change",
        flags=("--on-change",),
        metavar="ask|update|recreate",
        summary="What to do when the manifest or a file changed after the job was created: ask (change nothing and "
        "exit with 9), update the job, or delete and recreate it",
        default="ask",
    ),
    SettingOption(
        name="on_existing",
        flags=("--on-existing",),
        metavar="ask|adopt|create",
        summary="What to do when a new entry has a job that this journal does not know: ask (change nothing and exit "
        "with 9), adopt the job, or create another one",
        default="ask",
    ),
)

RUN_OPTIONS = (
    SettingOption(
        name="submit_anyway",
        flags=("--submit-anyway/--no-submit-anyway",),
        summary="Also submit entries that the service is known to refuse, or whose films were not checked as asked",
        default="off",
    ),
    SettingOption(
        name="jobs",
        flags=("--jobs", "-j"),
        metavar="N",
        summary="Number of entries in progress at once",
        default="5",
    ),
    SettingOption(
        name="parallel",
        flags=("--parallel", "-p"),
        metavar="N|auto",
        summary="Number of segment uploads at once over the whole run, 1 to 256; auto adapts it to the throughput",
        default="16",
    ),
    SettingOption(
        name="bwlimit",
        flags=("--bwlimit",),
        metavar="RATE",
        summary="Bandwidth limit of all uploads together, in bytes per second: 20M, off, or a timetable such as "
        "'08:00,5M 20:00,off'; SIGUSR1 makes a running command read its config file again",
        default="off",
    ),
    SettingOption(
        name="verify",
        flags=("--verify",),
        metavar="etag|off",
        summary="Compare the store's ETag of every segment with the MD5 of the bytes sent",
        default="etag",
    ),
    SettingOption(
        name="verify_object",
        flags=("--verify-object/--no-verify-object",),
        summary="After confirm, require that the length and ETag of each stored object can be checked",
        default="off",
        default_note="off: checked where the service allows it",
    ),
    SettingOption(
        name="idle_timeout",
        flags=("--idle-timeout",),
        metavar="SECONDS",
        summary="Abort and retry an upload that makes no progress for this long",
        default="30",
    ),
    SettingOption(
        name="api_rate",
        flags=("--api-rate",),
        metavar="WRITES:READS",
        summary="Service calls per second, or unlimited",
        default="2:5",
    ),
    SettingOption(
        name="api_attempts",
        flags=("--api-attempts",),
        metavar="N",
        summary="Attempts per service call before it fails",
        default="5",
    ),
    SettingOption(
        name="max_outage",
        flags=("--max-outage",),
        metavar="TIME",
        summary="How long to wait in a row for a service or store that is unreachable or overloaded",
        default="15m",
    ),
    SettingOption(
        name="max_duration",
        flags=("--max-duration",),
        metavar="TIME",
        summary="Take no new work after this time, finish running uploads and exit with 5 if work remains",
    ),
    SettingOption(
        name="max_transfer",
        flags=("--max-transfer",),
        metavar="SIZE",
        summary="Take no new work once this much was sent, finish running uploads and exit with 5 if work remains",
    ),
    SettingOption(
        name="on_expired",
        flags=("--on-expired",),
        metavar="recreate|fail",
        summary="What to do when upload URLs have expired and the service returns no new ones for the job",
        default="recreate",
    ),
    SettingOption(
        name="fail_fast",
        flags=("--fail-fast/--no-fail-fast",),
        summary="Start no new entries after the first failure",
        default="off",
    ),
    SettingOption(
        name="grace",
        flags=("--grace",),
        metavar="SECONDS",
        summary="After the first SIGINT or SIGTERM, how long to let running uploads finish",
        default="30",
    ),
)

EVENTS_OPTIONS = (
    SettingOption(
        name="events",
        flags=("--events",),
        metavar="FILE|-",
        summary="Append what happens to FILE as JSON lines, or write them to stdout with -",
        is_path=True,
    ),
)

METRICS_OPTIONS = (
    SettingOption(
        name="metrics_file",
        flags=("--metrics-file",),
        metavar="FILE",
        summary="Write the run's metrics to FILE, for the textfile collector of Prometheus' node_exporter",
        is_path=True,
    ),
    SettingOption(
        name="metrics_port",
        flags=("--metrics-port",),
        metavar="PORT",
        summary="Serve the run's metrics to Prometheus on this port of 127.0.0.1",
    ),
)

NOTIFY_OPTIONS = (
    SettingOption(
        name="notify",
        flags=("--notify",),
        metavar="URL",
        summary="Notify this address of failures, decisions, outages and the end of the run; may be repeated",
        is_list=True,
        is_secret=True,
    ),
    SettingOption(
        name="on_finish",
        flags=("--on-finish",),
        metavar="COMMAND",
        summary="Run COMMAND with the shell at the end of a run that had work; its input is the document of --json",
    ),
    SettingOption(
        name="heartbeat",
        flags=("--heartbeat",),
        metavar="URL",
        summary="Request this address at the start, every minute and at the end, for an alarm that misses it; "
        "{event} in it stands for start, log or the exit code",
        is_secret=True,
    ),
)

#: The subset for a command that follows jobs: it is started by hand and ends with them.
WATCH_REPORTING_OPTIONS = (*EVENTS_OPTIONS, *(option for option in NOTIFY_OPTIONS if option.name == "notify"))
#: Settings that are fixed for a fleet's batch when it is queued, whichever host works on it later.
BATCH_OPTIONS = tuple(
    option
    for option in (*PLAN_OPTIONS, *RUN_OPTIONS)
    if option.name
    in {
        *("part_size", "on_change", "on_existing", "on_expired"),
        *("verify", "verify_object", "submit_anyway"),
    }
)
#: Settings of a fleet's host, and those that can be given when a batch is queued.
HOST_OPTIONS = tuple(option for option in RUN_OPTIONS if option not in BATCH_OPTIONS)
ENQUEUE_OPTIONS = (*PLAN_OPTIONS, *(option for option in BATCH_OPTIONS if option not in PLAN_OPTIONS))
#: Options of commands that work on entries.
RUN_REPORTING_OPTIONS = (*EVENTS_OPTIONS, *METRICS_OPTIONS, *NOTIFY_OPTIONS)

#: The run option that also sets the number of films checked at once.
JOBS_OPTIONS = tuple(option for option in RUN_OPTIONS if option.name == "jobs")
#: The run options that only affect service calls, also for commands that wait in their own way.
API_OPTIONS = tuple(option for option in RUN_OPTIONS if option.name.startswith("api_"))
#: The same for commands that wait for the service like a run.
CALL_OPTIONS = (*API_OPTIONS, *(option for option in RUN_OPTIONS if option.name == "max_outage"))

ALL_OPTIONS = (
    *OUTPUT_OPTIONS,
    *SERVICE_OPTIONS,
    *MANIFEST_OPTIONS,
    *LOOK_OPTIONS,
    *PLAN_OPTIONS,
    *RUN_OPTIONS,
    *RUN_REPORTING_OPTIONS,
)

#: The value of each setting that no source sets.
DEFAULTS = {option.name: option.default for option in ALL_OPTIONS}
