"""A PostgreSQL server that cannot be reached from the start, or refuses: what commands of a fleet say."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from orchestrator.domain.errors import ExitCode
from orchestrator.journal.postgres import SET_UP_SESSION
from tests.cli.conftest import Cli
from tests.postgres import listening

pytestmark = [pytest.mark.long, pytest.mark.usefixtures("simulator")]

LATER, SETTINGS = ExitCode.TEMPORARY, ExitCode.CONFIGURATION
COMMANDS = (("fleet", "status"), ("work", "--until-done"), ("status",))
_RULES = """host all asked 127.0.0.1/32 scram-sha-256
hostssl all encrypted 127.0.0.1/32 trust
host all encrypted 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust"""
_ROLES = (
    "CREATE ROLE asked LOGIN PASSWORD 'right'",
    "CREATE ROLE encrypted LOGIN",
    "CREATE ROLE full LOGIN CONNECTION LIMIT 0",
    "CREATE ROLE plain LOGIN",
    "CREATE DATABASE fleet OWNER plain",
    "CREATE DATABASE closed",
)


def free_port() -> int:
    """One at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a server for few sessions, with roles that are let in on terms."""
    # The user it runs as must be let into the folder.
    folder = Path("/tmp") / f"{tmp_path_factory.getbasetemp().name}-{free_port()}"
    options = "-c max_connections=8 -c superuser_reserved_connections=3"
    with listening(folder, "127.0.0.1", port=free_port(), rules=_RULES, options=options) as url:
        with psycopg.connect(url, autocommit=True) as admin:
            for statement in _ROLES:
                admin.execute(statement.encode())
        yield url.partition("@")[2].partition("/")[0]


@pytest.fixture(autouse=True)
def _no_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    monkeypatch.delenv("PGPASSWORD", raising=False)


def assert_told(
    cli: Cli, code: ExitCode, *words: str, commands: tuple[tuple[str, ...], ...] = COMMANDS
) -> None:
    """Each of *commands* ends with *code*, one sentence with *words* and a hint, and shows no password."""
    for command in commands:
        result = cli(*command)
        shown = result.stdout + result.stderr
        assert result.exit_code == code, (command, shown)
        assert all(word in result.stderr for word in words), (command, shown)
        assert "hint: " in result.stderr
        assert shown.count("error: ") == 1
        assert "hunter2" not in shown
        assert "Traceback" not in shown


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of something that is no PostgreSQL server: it sends *answer* to whatever comes, or nothing at all."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    with client:
                        client.recv(1024)
                        client.sendall(answer)

        if answer:
            threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        pytest.param("asked@SERVER/fleet", ("asks for a password", "PGPASSWORD"), id="no password"),
        pytest.param("asked:hunter2@SERVER/fleet", ("password authentication failed",), id="wrong password"),
        pytest.param("plain@SERVER/nowhere", ('"nowhere" does not exist',), id="no database"),
        pytest.param("ghost@SERVER/fleet", ('"ghost" does not exist',), id="no role"),
        pytest.param("encrypted@SERVER/fleet", ("allows no connection", "sslmode=require"), id="wants TLS"),
        pytest.param("plain@SERVER/fleet?sslmode=require", ("has no TLS", "sslmode"), id="no TLS"),
        pytest.param("?service=nosuch", ("PGSERVICEFILE",), id="no service"),
    ],
)
def test_a_server_that_refuses_is_a_sentence(
    cli: Cli, server: str, monkeypatch: pytest.MonkeyPatch, url: str, words: tuple[str, ...]
) -> None:
    """With what to do about it: it does not pass by itself."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", f"postgresql://{url.replace('SERVER', server)}")

    assert_told(cli, SETTINGS, *words)


def test_a_role_that_has_all_its_sessions_may_have_another_later(
    cli: Cli, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is temporary."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", f"postgresql://full@{server}/fleet")

    assert_told(cli, LATER, "takes no more connections", "max_connections")


def test_a_wrong_password_from_the_environment_is_not_shown(
    cli: Cli, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in the URL."""
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    monkeypatch.setenv("ORCHESTRATOR_STATE", f"postgresql://asked@{server}/fleet")

    assert_told(cli, SETTINGS, "password authentication failed", "PGPASSFILE")


@pytest.mark.parametrize(
    ("place", "words"),
    [
        pytest.param("127.0.0.1:REFUSED", "Connection refused", id="port closed"),
        # No packet leaves the machine for it.
        pytest.param("255.255.255.255", "Network is unreachable", id="no route"),
        pytest.param("no.such.host.invalid", "no.such.host.invalid", id="no such name"),
    ],
)
def test_a_server_that_cannot_be_reached_may_be_back_later(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, place: str, words: str
) -> None:
    """Or its name is wrong."""
    monkeypatch.setattr(socket, "getaddrinfo", unknown_name)
    place = place.replace("REFUSED", str(free_port()))
    monkeypatch.setenv("ORCHESTRATOR_STATE", f"postgresql://studio:hunter2@{place}/fleet")

    assert_told(cli, LATER, "cannot be reached", words, "check host and port in --state")


def unknown_name(*_: object, **__: object) -> None:
    """As the system's, without asking a name server."""
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_a_server_that_says_nothing_is_given_up(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that the URL gives it, ten seconds by default."""
    with answering(b"") as port:
        monkeypatch.setenv(
            "ORCHESTRATOR_STATE", f"postgresql://studio@127.0.0.1:{port}/fleet?connect_timeout=2"
        )

        assert_told(cli, LATER, "cannot be reached", "timeout")


def test_what_is_no_postgresql_server_is_named_as_such(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the port is that of another program."""
    with answering(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        monkeypatch.setenv("ORCHESTRATOR_STATE", f"postgresql://studio@127.0.0.1:{port}/fleet")

        assert_told(cli, SETTINGS, "is no PostgreSQL server", "host and port")


def test_a_server_without_free_sessions_is_named_as_such_and_serves_again(
    cli: Cli, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what a fleet needs; nothing has to be done but to wait."""
    state = f"postgresql://plain@{server}/fleet"
    monkeypatch.setenv("ORCHESTRATOR_STATE", state)
    installed = cli("fleet", "install")
    with ExitStack() as sessions:
        with suppress(psycopg.OperationalError):
            while True:
                sessions.enter_context(psycopg.connect(state))
        assert_told(
            cli,
            LATER,
            "takes no more connections",
            "max_connections",
            commands=(*COMMANDS, ("fleet", "install")),
        )

    assert installed.exit_code == ExitCode.OK
    assert cli("fleet", "status").exit_code == ExitCode.OK


def test_a_database_without_rights_or_tables_says_who_makes_them(
    cli: Cli, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An owner's `fleet install`."""
    monkeypatch.setenv("ORCHESTRATOR_STATE", f"postgresql://plain@{server}/closed")

    assert_told(cli, SETTINGS, "permission denied", "owner", commands=(("fleet", "install"), ("work",)))
    assert_told(cli, SETTINGS, "fleet install", commands=(("fleet", "status"),))


def test_the_server_asks_a_silent_host_whether_it_is_there(server: str) -> None:
    """At its end of a TCP connection, within seconds instead of the system's two hours."""
    with psycopg.connect(f"postgresql://plain@{server}/fleet", autocommit=True) as session:
        session.execute(SET_UP_SESSION)
        names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count", "tcp_user_timeout")
        found = [session.execute(f"SHOW {name}".encode()).fetchone() for name in names]

    assert found == [("5",), ("5",), ("2",), ("10000",)]
