"""Untrusted text (from the service, reviewers, file names): repaired where it is read, disarmed where it is shown.

Contacts and secrets in it are masked, and nothing else (design section 8). These are masked wherever they appear:
queries and user names of URLs, values of keys that name a secret (`Signature=`, `X-Auth-Token: `), access keys,
bearer and other long tokens, e-mail addresses, Chinese mobile numbers, numbers with a country code or an area code,
ID card numbers, and the texts that a caller passes as secret. Other numbers, times, sizes, paths and the ids of jobs
and requests stay: without them a log would be useless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

REPLACEMENT: Final = "\ufffd"

#: No database, encoder or parser accepts half of a surrogate pair, and PostgreSQL accepts no NUL.
_BROKEN = re.compile("[\x00\ud800-\udfff]")
#: The escapes in a JSON text. A surrogate pair matches as a whole, so that only a lone half matches by itself.
_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<broken>\\u(?:[dD][89a-fA-F][0-9a-fA-F]{2}|0000))|\\.",
    re.DOTALL,
)
_LINE_BREAKS: Final = frozenset("\t\n\v\f\r\x1c\x1d\x1e\x1f\x85\u2028\u2029")
#: Invisible characters that are needed to write some scripts and emoji.
_JOINERS: Final = frozenset("\u200c\u200d")
#: Characters that JSON allows in a string although a terminal or an editor acts on them: C1 controls, DEL, text
#: directions, line ends, lone surrogates.
_LIVE_IN_JSON = re.compile(
    "[\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def repaired(text: str) -> str:
    """Return *text* with U+FFFD for each lone surrogate and NUL, so that it can be stored and encoded."""
    # Most texts are ASCII, and each call, ETag and id passes through here.
    return text if text.isascii() and "\0" not in text else _BROKEN.sub(REPLACEMENT, text)


def repaired_json(document: str) -> str:
    """Return the JSON *document* changed so that its decoded strings contain no lone surrogate and no NUL."""
    whole = repaired(document)
    if "\\u" not in whole:
        return whole
    return _ESCAPE.sub(lambda found: r"\ufffd" if found["broken"] else found[0], whole)


def shown(text: str) -> str:
    """Return *text* as one line that cannot move the cursor, color the terminal or reverse the writing direction.

    Line breaks and tabs become spaces, and all other unprintable characters their escapes. A byte of a path that is
    not UTF-8 is shown as `\\xff`.
    """
    if text.isprintable():
        return text
    return "".join(map(_shown_character, text.replace("\r\n", "\n")))


def _shown_character(character: str) -> str:
    if character in _LINE_BREAKS:
        return " "
    if character.isprintable() or character.isspace() or character in _JOINERS:
        return character
    return escaped_byte(character) or repr(character)[1:-1]


def escaped_byte(character: str) -> str | None:
    """Return the escape of a byte that Python keeps as a lone surrogate in paths and arguments; else None."""
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else None


def disarmed_json(document: str) -> str:
    """Return the JSON *document* with escapes for what a terminal would act on; it decodes to the same values.

    Only lone surrogates, which no strict parser accepts, are replaced as `shown` does.
    """
    return (
        document
        if document.isascii() and "\x7f" not in document
        else _LIVE_IN_JSON.sub(_json_escape, document)
    )


def _json_escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if 0xD800 <= code <= 0xDFFF:
        return (escaped_byte(character) or REPLACEMENT).replace("\\", "\\\\")
    if code > 0xFFFF:
        high, low = divmod(code - 0x10000, 0x400)
        return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"
    return f"\\u{code:04x}"


def one_line(text: str) -> str:
    """Return *text* with single spaces between its words."""
    return " ".join(text.split())


MASK: Final = "***"
#: Shorter texts are words that may appear anywhere; keys, tokens and contacts are longer.
_SHORTEST_HIDDEN: Final = 5
#: The characters that are scanned for each one that is kept. A long text is cut first to save time, and not to the
#: final length, because masks make it shorter.
_WINDOW: Final = 8

# ASCII throughout: Chinese has no spaces, and `\b` would see no boundary between a word and a number.
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
# Includes the full-width digits and signs that Chinese keyboards write.
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
    """Return *text* without contacts and secrets, and without the texts in *hidden*, wherever they appear."""
    text = without_secrets(without(text, hidden))
    return _PHONE.sub(MASK, _MAIL.sub(MASK, text))


def without_secrets(text: str) -> str:
    """Return *text* without keys, tokens and the secrets of presigned URLs; contacts stay."""
    bare = _PAIR.sub(rf"\1{MASK}", _URL.sub(_masked_url, text))
    return _TOKEN.sub(lambda found: f"{found[1]} {MASK}" if found[1] else MASK, bare)


def without(text: str, hidden: Iterable[str]) -> str:
    """Return *text* without the texts in *hidden*; those too short to be a contact or a secret stay."""
    for secret in hidden:
        if len(secret) >= _SHORTEST_HIDDEN:
            text = text.replace(secret, MASK)
    return text


def quotable(text: str, *, hidden: Iterable[str] = (), longest: int = 500) -> str:
    """Return *text* in a form to store and quote: repaired, on one line, masked, at most *longest* characters."""
    line = one_line(repaired(text[: longest * _WINDOW]))
    return masked(line, hidden=hidden)[:longest]


def plain_name(text: str | None, *, longest: int = 128) -> str | None:
    """Return a code or id from outside, or None if it has characters that ids do not have: it is shown unmasked."""
    return text if text is not None and len(text) <= longest and _NAME.fullmatch(text) else None


_NAME = re.compile(r"[A-Za-z0-9._:/+=-]+")


# A part's ETag is parsed in the store's answer, in the part list and again for the confirm.
@lru_cache(maxsize=256)
def bare_etag(text: str | None) -> str | None:
    """Return an ETag in lower case, without quotes and weakness mark; None if there is none.

    Gateways that compress or rewrite answers mark ETags as weak (`W/"..."`, RFC 9110 section 8.8.3).
    """
    etag = repaired(text or "").strip()
    if etag[:2].lower() == "w/":
        etag = etag[2:]
    return etag.strip().strip('"').lower() or None


def shown_address(url: str) -> str:
    """Return the part of an address that may be shown: any part but the scheme may be secret."""
    return f"{url.split('://', 1)[0]}://..."


def _masked_url(found: re.Match[str]) -> str:
    scheme, user, place, query = found.groups()
    return f"{scheme}{f'{MASK}@' if user else ''}{place}{f'?{MASK}' if query else ''}"
