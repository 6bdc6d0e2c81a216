"""Where a journal may be: the path of a file, or the URL of a database."""

from __future__ import annotations


def is_url(location: str) -> bool:
    """True for what names a database and never a path."""
    return "://" in location


def shown(location: str) -> str:
    """*location* as people may see it: a URL may hold a password."""
    return f"{location.split('://', 1)[0]}://..." if is_url(location) else location
