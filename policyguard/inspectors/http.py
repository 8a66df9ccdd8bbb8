"""The parts of an outgoing request, its recipient and its transport.

Layer: inspectors. Start reading at `parts`.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, Literal

from policyguard.inspectors.leaves import Collector, join
from policyguard.inspectors.payload import DEFAULT_LIMITS, Limits, Payload, leaves
from policyguard.policy.hosts import canonical_host

if TYPE_CHECKING:
    from policyguard.policy.hosts import HostTable

Transport = Literal["https", "http", "local"]

# Set by clients about the transport, never about a person.
_TRANSPORT: Final = """
accept accept-charset accept-encoding accept-ranges cache-control connection content-encoding
content-length content-type date expect host keep-alive max-forwards pragma proxy-connection te
trailer transfer-encoding upgrade upgrade-insecure-requests via
"""
_NOISE: Final = frozenset(_TRANSPORT.split())
_STANDARD: Final = "authorization cookie user-agent referer origin accept-language"
_COMMON: Final = frozenset(_STANDARD.split())


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A request as it is about to be sent, one for each redirect hop.

    Attributes:
        method: `GET`.
        host: the host that the client really connects with; `unix:` and a path for a socket.
        scheme: `https`.
        path: as sent, without the query.
        query: as sent, without `?`.
        headers: (name, value) as sent.
        body: the bytes that are sent; None when there are none, or when they are not known.
        streaming: the body is sent from a stream; with `body` None it can't be read.
        port: as connected; None is the scheme's own.
        started: its head has left already, so nothing of it can be changed any more.
    """

    method: str
    host: str
    scheme: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    streaming: bool = False
    port: int | None = None
    started: bool = False

    def __repr__(self) -> str:
        """Method, scheme and host: path, query, headers and body may hold data."""
        return f"OutgoingRequest({self.method} {self.scheme}://{_shown(self.host)})"


def parts(request: OutgoingRequest, *, limits: Limits = DEFAULT_LIMITS) -> Payload:
    """Everything that a request says, as leaves.

    Returns:
        Paths `host`, `path[2]`, `query.x`, `header.x`, `cookie.x`, `header.authorization.user` and
        `body.x`; unreadable when any part is.

    Cost: that of the body, plus some 20 us.
    """
    collector = Collector(limits)
    try:
        _outside(collector, request)
    except Exception:  # noqa: BLE001 -- clients hand over whatever they were given
        # Denies: a part that can't be read makes the request unreadable.
        collector.unreadable("the request can't be read")
    body = _body(request, limits)
    found = [*collector.leaves, *((_below("body", path), value) for path, value in body.leaves)]
    why = collector.why or body.why
    return Payload(tuple(found), not why, why)


def recipients_of(table: HostTable, request: OutgoingRequest) -> tuple[str, ...]:
    """The recipients that claim the host and path of a request; none for a host nobody declared.

    Cost: `HostTable.find`.
    """
    try:
        host = canonical_host(request.host)
    except ValueError:
        # Denies: what is no host is nobody declared.
        return ()
    return table.find(host, request.path)


def transport_of(request: OutgoingRequest) -> Transport:
    """Whether the request is encrypted, in clear, or never leaves the machine.

    `local` is a unix socket or a loopback address (`localhost` is one by RFC 6761) without TLS.
    """
    scheme = request.scheme.lower()
    if scheme in ("https", "wss"):
        return "https"
    if "unix" in scheme.split("+") or request.host.startswith(("unix:", "/")):
        return "local"
    return "local" if _is_loopback(request.host) else "http"


def _outside(collector: Collector, request: OutgoingRequest) -> None:
    """All but the body."""
    collector.add("host", request.host)
    for place, segment in enumerate(request.path.lstrip("/").split("/")):
        if segment:
            collector.text(f"path[{place}]", segment, 0)
    if request.query:
        collector.form("query", request.query, 0)
    for name, value in request.headers:
        plain = _text(name).strip().lower()
        if plain not in _NOISE:
            _header(collector, plain, _text(value))


def _header(collector: Collector, name: str, value: str) -> None:
    here = join("header", collector.segment(name))
    if name == "cookie":
        for pair in value.split(";"):
            key, _, held = pair.strip().partition("=")
            place = join("cookie", collector.segment(key))
            collector.add(f"{place}#key", key)
            collector.text(place, held.strip('"'), 0)
        return
    if name not in _COMMON:
        collector.add(f"{here}#key", name)
    collector.text(here, value, 0)
    scheme, _, credentials = value.partition(" ")
    if name.endswith("authorization"):
        _credentials(collector, here, scheme.lower(), credentials.strip())


def _credentials(collector: Collector, here: str, scheme: str, credentials: str) -> None:
    if scheme != "basic":
        collector.text(f"{here}.{collector.segment(scheme)}", credentials, 0)
        return
    try:
        plain = base64.b64decode(credentials).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        # Denies nothing: the header is a leaf as it stands.
        return
    user, _, password = plain.partition(":")
    collector.text(f"{here}.user", user, 0)
    collector.text(f"{here}.password", password, 0)


def _body(request: OutgoingRequest, limits: Limits) -> Payload:
    if request.body is None:
        why = "a body that is streamed" if request.streaming else ""
        return Payload((), not why, why)
    kind, encoding = content_type_of(request), content_encoding_of(request)
    return leaves(request.body, kind, limits=limits, encoding=encoding)


def content_type_of(request: OutgoingRequest) -> str | None:
    """The header that says what the body is; the first, where several stand."""
    return next(iter(_values(request, "content-type")), None)


def content_encoding_of(request: OutgoingRequest) -> str:
    """The layers of compression that the headers name."""
    return ", ".join(_values(request, "content-encoding"))


def _values(request: OutgoingRequest, wanted: str) -> list[str]:
    return [_text(value) for name, value in request.headers if _text(name).lower() == wanted]


def _text(value: str | bytes) -> str:
    """Headers are text; some clients hand over bytes."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _below(root: str, path: str) -> str:
    return f"{root}{path}" if not path or path[0] in "[#?" else f"{root}.{path}"


def _is_loopback(host: str) -> bool:
    name = host.strip("[]").removesuffix(".").lower()
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        # Denies: a name may resolve to anywhere, so it is not local.
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _shown(host: str) -> str:
    try:
        return canonical_host(host)
    except ValueError:
        # Denies nothing: what is no host is not shown.
        return "?"
