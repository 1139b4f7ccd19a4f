"""HTTP requests, and answers of servers checked before they are believed.

Whatever a server says (a broken redirect, an absurd length, a damaged header) becomes one of three errors, which decide
how the download continues. Passwords and queries of addresses never appear in a message or on the disk.

On `urllib`, because it needs no further package and honors `http_proxy`, `https_proxy` and `no_proxy`.
"""

from __future__ import annotations

import base64
import errno
import http.client
import socket
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import IO, Protocol, cast

from tessera.errors import UsageError
from tessera.version import __version__

BLOCK_BYTES = 1 << 16
LONGEST_PAUSE_SECONDS = 30.0
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Status codes worth a retry; every other error status is final for its address."""
_MOST_DIGITS = 18


class PassingError(Exception):
    """This attempt failed; a retry may succeed."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        super().__init__(reason)
        self.seconds = seconds


class AddressError(Exception):
    """This address cannot provide the file; another may."""


class PartError(Exception):
    """The partial file of an earlier attempt cannot be resumed."""


class Response(Protocol):
    """The parts of a `urllib` response that are used here."""

    status: int
    headers: Message

    def read1(self, n: int = ..., /) -> bytes:
        """Return what has arrived, at most n bytes; empty at the end."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https to http, and never with the password of another host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        """Return the request for the new address; raise if it is less safe than the old one."""
        new = urllib.parse.urlsplit(newurl)
        if new.scheme not in ("http", "https") or (req.type == "https" and new.scheme == "http"):
            fp.close()
            raise AddressError(f"it redirects from {req.type} to {hide_secrets(newurl)}, which is not safe")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and new.hostname != urllib.parse.urlsplit(req.full_url).hostname:
            request.remove_header("Authorization")
        return request


def hide_secrets(url: str) -> str:
    """Remove user, password and the values of a query from an address, for messages and records.

    >>> hide_secrets("https://me:secret@host.example:8443/a.pth?token=abc")
    'https://host.example:8443/a.pth?...'
    """
    rest, question, _ = url.partition("?")
    scheme, slashes, place = rest.partition("://")
    host, slash, path = place.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}{'?...' if question else ''}"


def check_address(url: str) -> None:
    """Raise UsageError for an address that is neither http nor https."""
    try:
        usable = urllib.parse.urlsplit(url).scheme in ("http", "https")
    except ValueError:
        usable = False
    if not usable:
        raise UsageError(
            f"{hide_secrets(url)!r} cannot be downloaded from: expected an address that begins with https:// or http://"
        )


def open_response(url: str, headers: Mapping[str, str], timeout_seconds: float) -> Response:
    """Send a request. Raises PassingError, AddressError, or PartError where a requested range does not exist."""
    # Built on each call, because the proxy variables may change.
    opener = urllib.request.build_opener(_SafeRedirects())
    try:
        request = _make_request(url, headers)
        return cast(Response, opener.open(request, timeout=timeout_seconds))
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and "Range" in headers:
            raise PartError from error
        answer = f"it answered {error.code} {error.reason[:200]}".rstrip()
        if error.code in PASSING_STATUS:
            raise PassingError(answer, _parse_retry_after(error.headers)) from error
        raise AddressError(answer) from error
    except urllib.error.URLError as error:
        raise _classify(error.reason) from error
    except http.client.InvalidURL as error:
        raise AddressError("it is not a valid address, or redirects to one that is not") from error
    except (OSError, http.client.HTTPException) as error:
        raise _classify(error) from error
    except ValueError as error:  # a redirect or a host name that cannot be parsed or encoded
        raise AddressError(f"it is, or redirects to, an address that is not valid ({_shorten(error)})") from error


def _make_request(url: str, headers: Mapping[str, str]) -> urllib.request.Request:
    parts = urllib.parse.urlsplit(url)
    sent = {"User-Agent": f"tessera/{__version__}", "Accept-Encoding": "identity", **headers}
    if parts.username is not None:
        secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        sent["Authorization"] = f"Basic {base64.b64encode(secret.encode()).decode()}"
        parts = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    return urllib.request.Request(urllib.parse.urlunsplit(parts), headers=sent)


def read_blocks(response: Response) -> Iterator[bytes]:
    """Yield what arrives, until the end. Raises PassingError or AddressError."""
    while True:
        try:
            block = response.read1(BLOCK_BYTES)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _classify(error) from error
        if not block:
            return
        yield block


def find_start(response: Response, requested: int) -> int:
    """Offset at which the response starts: as requested, or 0 if the server sends the whole file."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise AddressError("it sends the file compressed, although the plain bytes were requested")
    if response.status == http.HTTPStatus.OK:
        return 0
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        unit, _, span = response.headers.get("Content-Range", "").partition(" ")
        if unit.lower() == "bytes" and span.partition("-")[0].strip() == str(requested) and requested:
            return requested
        raise PartError if requested else AddressError("it sent a part of the file where the whole was requested")
    raise AddressError(f"it answered {response.status}")


def find_total(response: Response, start: int, size: int | None) -> int | None:
    """Size of the whole file: as expected, else as declared; None if unknown."""
    length = response.headers.get("Content-Length", "").strip()
    if length.isdecimal() and len(length) > _MOST_DIGITS:
        raise AddressError(f"it declares a length of {len(length)} digits")
    declared = start + int(length) if length.isdecimal() else None
    if size is not None and declared is not None and declared != size:
        raise AddressError(f"it offers a file of {declared:,} bytes, and {size:,} were expected")
    return size if size is not None else declared


def choose_validator(headers: Message) -> str | None:
    """Validator for `If-Range`: a strong ETag, else the date (RFC 9110, section 13.1.5)."""
    etag = headers.get("ETag")
    return etag if etag is not None and etag.startswith('"') else headers.get("Last-Modified")


def _parse_retry_after(headers: Message) -> float | None:
    seconds = headers.get("Retry-After", "")
    return min(float(seconds), LONGEST_PAUSE_SECONDS) if seconds.isdecimal() else None


def _classify(reason: object) -> Exception:
    """Distinguish a temporary failure from a permanent one."""
    if isinstance(reason, ssl.SSLCertVerificationError):
        return AddressError(
            f"its certificate is not trusted ({reason.verify_message}); if a proxy re-signs the traffic, "
            f"name its certificates in SSL_CERT_FILE"
        )
    if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
        return AddressError("its name is not known to this machine's network")
    if isinstance(reason, TimeoutError):
        return PassingError("nothing came in time")
    if isinstance(reason, http.client.HTTPException | ConnectionResetError | BrokenPipeError):
        return PassingError("the connection was dropped")
    return PassingError(f"no connection ({describe_reason(reason)})")


def describe_reason(error: object) -> str:
    """The reason of a failure, as part of a sentence."""
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return "the disk is full"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _shorten(error)


def _shorten(error: object) -> str:
    return hide_secrets(" ".join(str(error).split()))[:200] or type(error).__name__
