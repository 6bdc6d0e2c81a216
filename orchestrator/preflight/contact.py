"""Whether a contact is one: a phone number or an e-mail address (rule P07)."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")
_FEWEST_DIGITS = 7


def contact_complaint(contact: str | None) -> str | None:
    """What is wrong with *contact*, which is not repeated; None when it looks like a number or an address."""
    if not contact:
        return "is not given; the creator's phone number or e-mail address, for questions of the review"
    if _ADDRESS.fullmatch(contact) or sum(map(str.isdigit, contact)) >= _FEWEST_DIGITS:
        return None
    return f"has neither {_FEWEST_DIGITS} digits nor an @; is it a phone number or an e-mail address?"
