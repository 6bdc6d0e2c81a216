"""Hosts in network namespaces, each with a link to the database and one to the service, which are cut one by one.

A link is cut by taking its end off the servers' bridge: both ends stay up, know each other's address, and nothing
that is sent arrives. So no error is seen at either end, as where a firewall, a cable or a peering drops packets.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Final

#: In front of the process id in the names of namespaces, so that those of a dead process are known.
_PREFIX: Final = "crash"
_NAMED: Final = Path("/run/netns")
_CLONE_NEWNET: Final = 0x40000000
_CLONE_NEWUTS: Final = 0x04000000
#: Python has these calls from 3.12 on.
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
#: The header with the time at which a host began a request, in seconds since the epoch: what is under way while a
#: link is cut arrives late.
BEGUN_HEADER: Final = "Begun-At"
#: Within the namespace of the servers; no other program is there.
DATABASE_PORT: Final = 5432


class Link(StrEnum):
    """What a host reaches through a link of its own; the values are names of devices."""

    DATABASE = "db"
    SERVICE = "svc"

    @property
    def _network(self) -> str:
        """The first three numbers of addresses: networks for documentation, which no host has."""
        return {Link.DATABASE: "192.0.2", Link.SERVICE: "198.51.100"}[self]

    @property
    def server(self) -> str:
        """The address of the server."""
        return f"{self._network}.1"

    def address(self, host: int) -> str:
        """The address of a host, by its number."""
        return f"{self._network}.{host + 10}"

    def hardware(self, host: int | None) -> str:
        """The hardware address of a host's end, or of the server's."""
        return f"02:00:00:00:{[*Link].index(self):02x}:{0 if host is None else host + 10:02x}"


def missing() -> str | None:
    """Why there can be no network here; None where there can."""
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    if shutil.which("ip") is None:
        return "network namespaces are made by `ip`, of iproute2"
    name = _new_name()
    try:
        _run(f"ip netns add {name}")
        _run(f"ip -n {name} link add bridge type bridge")
        _run(f"ip -n {name} link add one type veth peer name other")
    except RuntimeError as error:
        return f"this machine makes no network namespaces with bridges: {error}"
    finally:
        _delete(name)
    return None


class Network:
    """So many hosts, and the servers that they reach through links of their own."""

    def __init__(self, name: str, hosts: int) -> None:
        self.servers = f"{name}-servers"
        self.hosts = tuple(f"{name}-{number}" for number in range(hosts))

    @classmethod
    @contextmanager
    def of(cls, hosts: int) -> Iterator[Network]:
        """A network that is gone after the block, with what still runs in it cut off."""
        _delete_abandoned()
        network = cls(_new_name(), hosts)
        try:
            network._make()
            yield network
        finally:
            for namespace in (*network.hosts, network.servers):
                _delete(namespace)

    def _make(self) -> None:
        for namespace in (self.servers, *self.hosts):
            _run(f"ip netns add {namespace}")
            _run(f"ip -n {namespace} link set lo up")
        for link in Link:
            bridge, own = f"ip -n {self.servers}", link.hardware(None)
            _run(f"{bridge} link add {link} address {own} type bridge")
            _run(f"{bridge} addr add {link.server}/24 dev {link}")
            _run(f"{bridge} link set {link} up")
            for number, host in enumerate(self.hosts):
                end, theirs = f"{link}{number}", link.hardware(number)
                _run(
                    f"ip link add {link} netns {host} address {theirs} type veth peer name {end} netns {self.servers}"
                )
                _run(f"ip -n {host} addr add {link.address(number)}/24 dev {link}")
                _run(f"ip -n {host} link set {link} up")
                _run(f"{bridge} link set {end} up")
                # Known for good: an address that nobody answers for would be an error within seconds.
                _run(f"ip -n {host} neigh add {link.server} lladdr {own} dev {link} nud permanent")
                _run(f"{bridge} neigh add {link.address(number)} lladdr {theirs} dev {link} nud permanent")
                self.mend(number, link)

    def cut(self, host: int, link: Link) -> None:
        """Let nothing arrive through the link any more, at either end."""
        _run(f"ip -n {self.servers} link set {link}{host} nomaster")

    def mend(self, host: int, link: Link) -> None:
        """Let everything arrive again."""
        _run(f"ip -n {self.servers} link set {link}{host} master {link}")


@contextmanager
def within(namespace: str) -> Iterator[None]:
    """Have this thread, and the processes it starts, in *namespace* for the block."""
    with Path("/proc/thread-self/ns/net").open() as before:
        enter(namespace)
        try:
            yield
        finally:
            _call(_LIBC.setns, before.fileno(), _CLONE_NEWNET)


def enter(namespace: str) -> None:
    """Have this thread, and those that it starts, in *namespace* from now on."""
    with (_NAMED / namespace).open() as found:
        _call(_LIBC.setns, found.fileno(), _CLONE_NEWNET)


def take_host_name(name: str) -> None:
    """Have another name of the host in this thread, and in those that it starts, from now on."""
    _call(_LIBC.unshare, _CLONE_NEWUTS)
    encoded = name.encode()
    _call(_LIBC.sethostname, encoded, len(encoded))


def _call(function: ctypes._NamedFuncPointer, *arguments: object) -> None:
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")


def _new_name() -> str:
    return f"{_PREFIX}-{os.getpid()}-{uuid.uuid4().hex[:6]}"


def _delete_abandoned() -> None:
    """Delete the namespaces of processes that were killed before they could."""
    for path in _NAMED.glob(f"{_PREFIX}-*-*"):
        process_id = path.name.split("-")[1]
        if process_id.isdecimal() and not Path("/proc", process_id).exists():
            _delete(path.name)


def _delete(namespace: str) -> None:
    # Both ends of a link go with either.
    subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: {done.stderr.strip()}")
