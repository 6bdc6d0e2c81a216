"""What is a contact or a secret in the words of others: blacked out, and nothing else (design section 8).

Masked wherever they appear: queries and user names of URLs, values of keys that name a secret (`Signature=`,
`X-Auth-Token: `), access keys, bearer and other long tokens, e-mail addresses, Chinese mobile numbers, numbers with
a country code or an area code, ID card numbers, and the texts that a caller knows to be secret. Other numbers, times,
sizes, paths and the ids of jobs and requests stay: a log that says nothing helps no one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from orchestrator.domain.foreign import one_line, repaired

MASK: Final = "***"
#: Shorter texts are words that may be anywhere: no key, token or contact is.
_SHORTEST_HIDDEN: Final = 5
#: Looked at for each character that is kept: cut first, a long text costs nothing, and masks make it shorter.
_WINDOW: Final = 8

# ASCII throughout: Chinese writes without blanks, and `\b` would see no boundary between a word and a number.
_URL = re.compile(
    r"""(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]{0,30}://)   # scheme
        ([^\s/?#@"'<>]*@)?                                    # user name and password
        ([^\s?#"'<>]*)                                        # host and path
        ([?#][!#-&(-;=?-~]*)?                                 # query and fragment, as ASCII as URLs are
    """,
    re.VERBOSE,
)
_PAIR = re.compile(
    r"""((?:(?<![A-Za-z0-9_])|(?<=%26)|(?<=%3F)|(?<=%3f))(?:
            signature|[a-z]{0,8}accesskeyid|authorization|credential|passw(?:or)?d|ak|sk
            |x-amz-(?!request-id|id-2)[a-z-]{1,40}|x-obs-security-token|x-(?:auth|subject|security)-token
            |(?:security|auth|access|refresh|session)[_-]?token|(?:api|access|secret)[_-]?key
            |secret(?:[_-]?access)?[_-]?key|client[_-]?secret|token(?=["']?\s*=)
        )["']?\s*(?:[=:]|%3d)\s*["']?)
        ((?:SDK-HMAC-SHA256|AWS4-HMAC-SHA256|AWS|OBS|Bearer|Basic)\s+[^\r\n"']*|[^\s&,;"'}]+)
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_TOKEN = re.compile(
    r"""\b(Bearer|Basic)\s+(?:(?=[\w.~+/-]*\d)[\w.~+/-]{8,}|[\w.~+/-]{20,})=*   # as in a header
        |(?<!\w)(?=[A-Z0-9]*[A-Z])[A-Z0-9]{20}(?!\w)                            # access key
        |(?<![\w.-])eyJ[\w-]+\.[\w-]+\.[\w-]*                                    # JSON web token
        |(?<![\w+/.-])(?=[\w+/=-]*[A-Z])(?=[\w+/=-]*[a-z])[\w+=-][\w+/=-]{47,}   # any other; no path, no digest
    """,
    re.VERBOSE | re.ASCII,
)
_MAIL = re.compile(r"(?<![\w.%+-])[\w.%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+", re.ASCII)
# As Chinese keyboards write them, too: full-width digits and signs.
_DIGIT = r"[0-9\uff10-\uff19]"
_PLUS = r"[+\uff0b]"
_MOBILE = rf"(?:\(?(?:{_PLUS}|00)?86\)?[ -]?)?[1\uff11][3-9\uff13-\uff19]{_DIGIT}"
_PHONE = re.compile(
    rf"""(?<![\w\uff10-\uff19])(?<!\d\.)(?:
            {_MOBILE}(?:[ .-]?{_DIGIT}{{4}}){{2}}                # 138-0013-8000
            |{_MOBILE}{_DIGIT}[ -]{_DIGIT}{{3}}[ -]{_DIGIT}{{4}}   # 1380-013-8000
            |\(?0\d{{2,3}}[)-][ ]?\d{{7,8}}                      # 010-12345678
            |[1-9]\d{{5}}(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{{3}}[\dXx]   # ID card
        )(?![\w\uff10-\uff19])(?!\.\d)(?!\s*(?:bytes?|B|KiB|字节))
        |(?<![\w+\uff0b]){_PLUS}\d(?:[ ()-]{{0,2}}\d){{7,14}}(?!\w)   # +44 20 7946 0958
    """,
    re.VERBOSE | re.ASCII,
)


def masked(text: str, *, hidden: Iterable[str] = ()) -> str:
    """*text* without contacts and secrets, and without the texts in *hidden*, wherever they stand in it."""
    text = without_secrets(without(text, hidden))
    return _PHONE.sub(MASK, _MAIL.sub(MASK, text))


def without_secrets(text: str) -> str:
    """*text* without keys, tokens and what presigned URLs hold; contacts stay."""
    return _TOKEN.sub(_masked_token, _PAIR.sub(rf"\1{MASK}", _URL.sub(_masked_url, text)))


def without(text: str, hidden: Iterable[str]) -> str:
    """*text* without these very texts; those too short to be a contact or a secret stay."""
    for secret in hidden:
        if len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, MASK)
    return text


def quotable(text: str, *, hidden: Iterable[str] = (), longest: int = 500) -> str:
    """Words of others as we keep and repeat them: whole characters, one line, masked, at most *longest* of them."""
    line = one_line(repaired(text[: longest * _WINDOW]))
    return masked(line, hidden=hidden)[:longest]


def plain_name(text: str | None, *, longest: int = 128) -> str | None:
    """A code or id that others sent, None when it is not made of the characters of one: it is shown unmasked."""
    return text if text is not None and len(text) <= longest and _NAME.fullmatch(text) else None


_NAME = re.compile(r"[A-Za-z0-9._:/+=-]+")


def _masked_url(found: re.Match[str]) -> str:
    scheme, user, place, query = found.groups()
    return f"{scheme}{f'{MASK}@' if user else ''}{place}{f'?{MASK}' if query else ''}"


def _masked_token(found: re.Match[str]) -> str:
    return f"{found[1]} {MASK}" if found[1] else MASK
