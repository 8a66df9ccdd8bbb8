"""Which recipients a host and path belong to: canonical names, patterns, and their table.

Layer: policy. Imports nothing of policyguard. Start reading at `HostTable.find`.

A pattern is an exact host or `*.` and a suffix, with an optional path prefix. There are no regular
expressions, so two patterns can be compared and a look-up never scans them all.

How a path is read, for patterns and requests alike (`path_segments`): the query and fragment are
cut off; tabs and line ends vanish, as URL parsers drop them; percent-escapes are decoded until
nothing changes; backslashes are slashes; empty and `.` segments vanish, `..` removes the segment
before it; a segment ends at `;`. So `/%74r`, `//tr` and `/x/../tr` are `/tr`. Letters keep case.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_LONGEST_HOST: Final = 253
_LONGEST_LABEL: Final = 63
_DECODINGS: Final = 8  # deeper nesting is no honest URL; what is left keeps its percent sign
_LABEL: Final = re.compile(r"[a-z0-9_-]+")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
_IPV4: Final = re.compile(r"[0-9]+(?:\.[0-9]+){3}")
_NOT_HOST: Final = re.compile(r"[\x00-\x20\x7f/?#\\%*]")
_FULL_STOPS: Final = re.compile("[.\u3002\uff0e\uff61]")
# IDNA 2003 and 2008 turn these into different names: one text, two hosts.
_TWO_MEANINGS: Final = re.compile("[\u00df\u1e9e\u03c2\u200c\u200d]")
_REGEX_SIGNS: Final = re.compile(r"[\\^$()\[\]{}+|]")

# Names that no public registry sells (RFC 2606, 6761, 6762, 8375, ICANN's `internal`, custom).
_PRIVATE: Final = """
corp example home internal intranet invalid lan local localdomain localhost private test
"""
_PRIVATE_SUFFIXES: Final = frozenset(_PRIVATE.split())
# Suffixes of two labels below which anybody can register: the best known ones, not all. Source:
# the registries' own rules. Missing ones cost a too wide pattern that a reviewer reads anyway.
_PUBLIC_SUFFIXES: Final = frozenset(
    f"{second}.{country}"
    for country, seconds in {
        "ar": "com net org",
        "at": "ac co or",
        "au": "asn com edu gov id net org",
        "br": "com gov net org",
        "cn": "ac com edu gov net org",
        "co": "com net org",
        "es": "com nom org",
        "hk": "com edu org",
        "id": "ac co go or",
        "il": "ac co gov org",
        "in": "ac co gov net org",
        "jp": "ac co go ne or",
        "ke": "co or",
        "kr": "co go ne or",
        "mx": "com gob org",
        "my": "com org",
        "ng": "com org",
        "nz": "ac co govt net org",
        "pe": "com org",
        "ph": "com org",
        "pk": "com org",
        "pl": "com edu gov net org",
        "sa": "com org",
        "sg": "com edu org",
        "th": "ac co go or",
        "tr": "com edu gov org",
        "tw": "com edu org",
        "ua": "com net org",
        "uk": "ac co gov ltd me net nhs org plc sch",
        "vn": "com org",
        "za": "ac co gov org",
    }.items()
    for second in seconds.split()
)

# Suffixes of hosting below which every customer gets a name: the best known ones, not all.
_HOSTING: Final = frozenset(
    f"{name}.{suffix}"
    for suffix, names in {
        "app": "netlify run vercel web",
        "com": "amazonaws appspot firebaseapp herokuapp onrender",
        "dev": "deno fly pages workers",
        "io": "github gitlab",
        "net": "azurewebsites cloudfront",
    }.items()
    for name in names.split()
)

_Claim = tuple[tuple[str, ...], str]  # path prefix, recipient


@dataclass(frozen=True, slots=True)
class HostPattern:
    """One host, or all hosts below one, with an optional path prefix.

    Attributes:
        host: canonical; without the `*.` of a wildcard.
        wildcard: stands for every host below `host`, never for `host` itself.
        path: normalised segments; empty = every path.
    """

    host: str
    wildcard: bool = False
    path: tuple[str, ...] = ()

    def matches(self, host: str, path: str = "/") -> bool:
        """Whether a request to this host and path is meant; `host` is canonical already."""
        return self._matches_host(host) and _starts(path_segments(path), self.path)

    def overlaps(self, other: HostPattern) -> bool:
        """Whether some host and path match both patterns."""
        if not (_starts(self.path, other.path) or _starts(other.path, self.path)):
            return False
        if self.wildcard and other.wildcard:
            below = self._matches_host(other.host) or other._matches_host(self.host)
            return self.host == other.host or below
        if self.wildcard:
            return self._matches_host(other.host)
        return other._matches_host(self.host)

    @property
    def specificity(self) -> tuple[bool, int, int]:
        """Greater is more specific: exact before wildcard, more labels, longer path."""
        return not self.wildcard, self.host.count(".") + 1, len(self.path)

    def __str__(self) -> str:
        """The pattern as a policy writes it."""
        return "/".join(("*." * self.wildcard + self.host, *self.path))

    def _matches_host(self, host: str) -> bool:
        if self.wildcard:
            return len(host) > len(self.host) + 1 and host.endswith("." + self.host)
        return host == self.host


class HostTable:
    """Every recipient's host patterns, arranged for look-up. Immutable once built."""

    __slots__ = ("_below", "_exact")

    def __init__(self, recipients: Iterable[tuple[str, Iterable[HostPattern]]]) -> None:
        exact: dict[str, list[_Claim]] = defaultdict(list)
        below: dict[str, list[_Claim]] = defaultdict(list)
        for recipient, patterns in recipients:
            for pattern in patterns:
                table = below if pattern.wildcard else exact
                table[pattern.host].append((pattern.path, recipient))
        self._exact = _arranged(exact)
        self._below = _arranged(below)

    def find(self, host: str, path: str = "/") -> tuple[str, ...]:
        """All recipients that claim a host and path; the caller takes the worst verdict.

        Args:
            host: canonical (`canonical_host`); the host that the client really connects with.
            path: as sent, with or without a query.

        Returns:
            Ids without repetition, the most specific pattern first: exact host before wildcard,
            longer suffix before shorter, longer path before shorter, then by id. Empty when
            nobody claims it.

        Cost: O(labels of the host + patterns on it), whatever the number of patterns.
        """
        claims = list(self._exact.get(host, ()))
        if self._below:
            dot = host.find(".", 1)  # something must stand before the dot
            while dot >= 0:
                claims += self._below.get(host[dot + 1 :], ())
                dot = host.find(".", dot + 1)
        # Reading a path costs more than the rest; few hosts are shared between recipients.
        segments = path_segments(path) if any(prefix for prefix, _ in claims) else ()
        found = (recipient for prefix, recipient in claims if _starts(segments, prefix))
        return tuple(dict.fromkeys(found))


def canonical_host(host: str) -> str:
    """The one spelling of a host: lower case, A-labels, no trailing dot, userinfo or port.

    Unicode names become A-labels by IDNA 2003 of the standard library; the four letters and joiners
    that IDNA 2008 treats differently are refused, since clients would connect to different hosts.
    IPv4 addresses are written with four decimal parts, whatever the spelling (`0x7f.1`); an IPv6
    address stands in brackets; one that only wraps an IPv4 address is that IPv4 address.

    Args:
        host: `EXAMPLE.com.`, `me@example.com:443`, `[::1]:80`; no scheme and no path.

    Raises:
        ValueError: no host can be told; the message doesn't repeat the text.

    Cost: linear in the length, which is capped.
    """
    # A name of 253 characters may come with userinfo; longer ones are nobody's.
    if len(host) > 8 * _LONGEST_HOST:
        raise ValueError("a host has at most 253 characters")
    name = host.rpartition("@")[2]
    if _NOT_HOST.search(name):
        raise ValueError("a host has no spaces, control characters, `/`, `?`, `#`, `\\`, `%`, `*`")
    if name.startswith("["):
        address, bracket, port = name[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise ValueError("an IPv6 address ends in `]`")
        _refuse_bad_port(port[1:])
        return _ipv6(address)
    if name.count(":") > 1:
        return _ipv6(name)
    name, _, port = name.partition(":")
    _refuse_bad_port(port)
    return _name(name)


def path_segments(path: str) -> tuple[str, ...]:
    """The segments of a path in the one reading that the module's header describes.

    Cost: linear in the length, at most eight times over for nested percent-escapes.
    """
    text = re.split(r"[?#]", path, maxsplit=1)[0]
    text = re.sub(r"[\t\r\n]", "", text)
    for _ in range(_DECODINGS):
        decoded = unquote(text) if "%" in text else text
        if decoded == text:
            break
        text = decoded
    segments: list[str] = []
    for raw in text.replace("\\", "/").split("/"):
        segment = raw.partition(";")[0]
        if segment == "..":
            del segments[-1:]
        elif segment not in ("", "."):
            segments.append(segment)
    return tuple(segments)


def parse_host_pattern(text: str) -> HostPattern:
    """A host pattern as a policy writes it: `www.facebook.com/tr`, `*.internal`, `10.0.0.1`.

    Raises:
        ValueError: with the reason, in words for the person who wrote the policy.
    """
    _refuse_signs(text)
    place, slash, rest = text.partition("/")
    wildcard = place.startswith("*.")
    base = place[2:] if wildcard else place
    if "*" in base:
        raise ValueError("`*` stands only at the start, as `*.example.com`; name the hosts")
    if "@" in base:
        raise ValueError("no user name in a host pattern")
    if (":" in base and base.count(":") == 1) or "]:" in base:
        raise ValueError("ports don't count; leave it out")
    host = canonical_host(base)
    if wildcard:
        _refuse_wide(host)
    path = _path_of_pattern(rest) if slash else ()
    if len(path) == 1 and path[0].isdigit() and _is_address(host):
        raise ValueError("a range of addresses can't be named; name each address")
    return HostPattern(host, wildcard, path)


def _starts(path: tuple[str, ...], prefix: tuple[str, ...]) -> bool:
    return path[: len(prefix)] == prefix


def _arranged(table: Mapping[str, list[_Claim]]) -> dict[str, tuple[_Claim, ...]]:
    """Longer paths first, then by id, so that the order of declaration means nothing."""
    return {
        host: tuple(sorted(claims, key=lambda claim: (-len(claim[0]), claim[1], claim[0])))
        for host, claims in table.items()
    }


def _name(text: str) -> str:
    """A host name, or an IPv4 address, in its one spelling."""
    name = text.lower() if text.isascii() else _a_labels(text)
    name = name.removesuffix(".")
    labels = name.split(".")
    if not all(labels):
        raise ValueError("a host has no empty labels" if name else "the host is missing")
    if _NUMBER.fullmatch(labels[-1]):
        # A name never ends in a number, so that every client reads this as an address.
        return _ipv4(labels)
    if len(name) > _LONGEST_HOST:
        raise ValueError("a host has at most 253 characters")
    for label in labels:
        if len(label) > _LONGEST_LABEL:
            raise ValueError("a label of a host has at most 63 characters")
        if not _LABEL.fullmatch(label):
            raise ValueError("a host has letters, digits, `-` and `_` only")
    return name


def _a_labels(text: str) -> str:
    if len(text) > _LONGEST_HOST:
        raise ValueError("a host has at most 253 characters")
    if _TWO_MEANINGS.search(text):
        raise ValueError("this letter has two meanings in host names; write the `xn--` form")
    try:
        # Label by label: a character that only turns into a dot here must not make a new label.
        labels = [
            label.encode("idna").decode("ascii") if label else ""
            for label in _FULL_STOPS.split(text)
        ]
    except UnicodeError:
        # Denies: a name that has no A-label matches no recipient.
        raise ValueError("not a host name that IDNA knows; write the `xn--` form") from None
    if any("." in label for label in labels):
        raise ValueError("a host has letters, digits, `-` and `_` only")
    return ".".join(labels).lower()


def _ipv4(labels: list[str]) -> str:
    """Four decimal parts from any spelling that clients accept (`127.1`, `0x7f000001`, `010.1`)."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):  # noqa: PLR2004 - IPv4 has four parts
        raise ValueError("not an IPv4 address")
    try:
        parts = [_ipv4_part(label) for label in labels]
    except ValueError:
        # Denies: clients disagree about such a number, so it is nobody's address.
        raise ValueError("not an IPv4 address") from None
    *first, last = parts
    if any(part > 255 for part in first) or last >= 256 ** (5 - len(parts)):  # noqa: PLR2004 - bytes
        raise ValueError("not an IPv4 address")
    number = last + sum(part << (8 * (3 - at)) for at, part in enumerate(first))
    return ".".join(str(byte) for byte in number.to_bytes(4, "big"))


def _ipv4_part(label: str) -> int:
    if label.startswith("0x"):
        return int(label[2:] or "0", 16)
    return int(label, 8 if label.startswith("0") else 10)


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        # Denies: an address that can't be read matches no recipient.
        raise ValueError("not an IPv6 address") from None
    wrapped = address.ipv4_mapped
    return str(wrapped) if wrapped is not None else f"[{address.compressed}]"


def _refuse_bad_port(port: str) -> None:
    if port and not (port.isascii() and port.isdigit()):
        raise ValueError("a port has digits only")


def _refuse_signs(text: str) -> None:
    """Whatever shows that a URL, a regular expression or a typing slip was written."""
    if not text or not text.isprintable() or any(sign.isspace() for sign in text):
        raise ValueError("a host pattern is not empty and has no spaces or control characters")
    if "://" in text or text.startswith("//"):
        raise ValueError("a host, not a URL; leave out the scheme")
    if "#" in text:
        raise ValueError("no fragment in a host pattern; leave out what follows `#`")
    if "?" in text:
        raise ValueError("no query in a host pattern; leave out what follows `?`")
    if text == "*":
        raise ValueError("`*` alone is everybody; name the hosts")
    # The brackets of an IPv6 address are the only ones with a meaning here.
    bare = re.sub(r"^\[[0-9A-Fa-f:.]*\]", "", text)
    if _REGEX_SIGNS.search(bare):
        raise ValueError("no regular expressions; an exact host, or `*.` and a host")


def _refuse_wide(host: str) -> None:
    if _is_address(host):
        raise ValueError("`*.` goes with a name, not with an address")
    if "." not in host and host not in _PRIVATE_SUFFIXES:
        raise ValueError("`*.` with a bare top-level domain is everybody; name the hosts")
    if host in _HOSTING:
        raise ValueError("anybody can rent a name below this suffix; name your own subdomain")
    if host in _PUBLIC_SUFFIXES:
        raise ValueError("anybody can register below this suffix; name the hosts")


def _is_address(host: str) -> bool:
    return host.startswith("[") or _IPV4.fullmatch(host) is not None


def _path_of_pattern(rest: str) -> tuple[str, ...]:
    parts = rest.removesuffix("/").split("/") if rest.removesuffix("/") else []
    if any(part in ("", ".", "..") for part in parts):
        raise ValueError("a path prefix has no empty, `.` or `..` segments")
    if any(sign in rest for sign in "%;*"):
        raise ValueError("a path prefix is plain text without `%`, `;` or `*`")
    return path_segments(rest)
