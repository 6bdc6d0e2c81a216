"""This machine: disks, open files, the digest's implementation, the proxy."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from urllib.request import getproxies_environment

from yarl import URL

from orchestrator.api.settings import Settings
from orchestrator.cli.work.checks.check import Check, failed, passed, warned
from orchestrator.domain.quantities import format_bytes
from orchestrator.network.session import EnvironmentProxies
from orchestrator.transfer.hashing import HASHLIB, Md5, best_md5

#: A journal of 50,000 entries has some hundred MiB, and its write-ahead log may become as large.
_ENOUGH_BYTES = 256 * 1024**2
_LEAST_BYTES = 16 * 1024**2
_ENOUGH_FILES = 1000
_LEAST_FILES = 10
#: Streams, event loop, journal, locks, logs, sessions of the service.
_OWN_DESCRIPTORS = 40
_MOST_PARALLEL = 256


def check_folder(name: str, folder: Path) -> Check:
    """Check that *folder*, or the nearest one above it that exists, takes new files and has room for them."""
    place = next((each for each in (folder, *folder.parents) if each.is_dir()), Path("/"))
    try:
        status = os.statvfs(place)
    except OSError as error:
        return failed(name, f"{place} cannot be looked at: {error.strerror}", "name another place")
    if not os.access(place, os.W_OK | os.X_OK):
        return failed(name, f"{place} is not writable", f"make it writable for this user: ls -ld {place}")
    free = status.f_bavail * status.f_frsize
    # Some file systems have no fixed number of inodes and report none at all.
    files = status.f_favail if status.f_files else _ENOUGH_FILES
    counted = f", {files:,} inodes free" if status.f_files else ""
    detail = f"{folder}: {format_bytes(free)} free{counted}"
    fix = f"free some space: `df -h {place}`, `df -i {place}`"
    if free < _LEAST_BYTES or files < _LEAST_FILES:
        return failed(name, detail, fix, is_temporary=True)
    if free < _ENOUGH_BYTES or files < _ENOUGH_FILES:
        return warned(name, detail, fix)
    return passed(name, detail)


def check_open_files(settings: Settings, limit: int | None = None) -> Check:
    """Compare the limit of open files (*limit*, else this process's) with what -j and -p need at most.

    An upload has a socket and a file open; an entry may have a call under way on either of two sessions.
    """
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
    parallel = settings.parallel or _MOST_PARALLEL
    needed = 2 * parallel + 2 * settings.jobs + _OWN_DESCRIPTORS
    if soft == resource.RLIM_INFINITY:
        return passed("open files", "no limit")
    detail = f"the limit is {soft}; -j {settings.jobs} -p {settings.parallel or 'auto'} needs up to {needed}"
    if soft >= needed:
        return passed("open files", detail)
    return failed("open files", detail, f"`ulimit -n {max(needed, 1024)}`, or lower -j and -p")


def check_digest(best: Md5 | None = None) -> Check:
    """Report which implementation hashes what is sent."""
    found = best or best_md5()
    if found is not HASHLIB:
        return passed("digest", f"the compiled MD5, {found.lanes} streams at a time")
    return warned(
        "digest",
        "hashlib, which takes several times the CPU of the compiled MD5",
        "install a C compiler, then metastudio-orchestrator again",
    )


def check_proxy(endpoint: str | None) -> Check:
    """Report the proxy on the way to *endpoint*, without its user and password."""
    proxies = getproxies_environment()
    try:
        proxy = EnvironmentProxies(proxies).proxy_for(URL(endpoint)) if endpoint else None
        is_usable = proxy is None or bool(proxy.host)
    except ValueError:
        proxy, is_usable = None, False
    if not is_usable:
        return failed(
            "proxy",
            "the proxy in the environment is not a URL",
            "write HTTPS_PROXY as http://HOST:PORT, or unset it",
        )
    if proxy is not None:
        return passed("proxy", f"{proxy.scheme}://{proxy.host_port_subcomponent}")
    return passed("proxy", "none is used" + (" for this endpoint" if proxies else ""))
