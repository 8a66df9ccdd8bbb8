"""Purposes by route and by job, as the configuration gives them.

Layer: enforce. Start reading at `Routes.find` and `Jobs.find`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "WEBSOCKET"}
)
_MOST: Final = 4096


@dataclass(frozen=True, slots=True)
class Route:
    """A pattern: `/auth/*`, `POST /images`, `/users/*/photo`, `/users/{id}`.

    Attributes:
        method: upper case, "" for any.
        parts: segments; `{name}` and `*` match one segment, `*` as the last one any number.
        purpose: dotted.
    """

    method: str
    parts: tuple[str, ...]
    purpose: str

    def fits(self, method: str, parts: tuple[str, ...]) -> bool:
        """Whether a request is meant."""
        if self.method not in ("", method):
            return False
        mine = self.parts
        if mine and mine[-1] == "*":
            return len(parts) >= len(mine) - 1 and _same(mine[:-1], parts)
        return len(parts) == len(mine) and _same(mine, parts)

    @property
    def name(self) -> str:
        """The pattern as text; a request's own path may hold personal data."""
        return f"{self.method} /{'/'.join(self.parts)}".strip()

    @property
    def weight(self) -> tuple[int, int, bool, bool]:
        """More exact patterns come first: more fixed segments, more segments, an end, a method."""
        fixed = sum(not _any(part) for part in self.parts)
        return fixed, len(self.parts), self.parts[-1:] != ("*",), bool(self.method)


def _any(part: str) -> bool:
    """Whether a segment of a pattern stands for any."""
    return part == "*" or (part.startswith("{") and part.endswith("}"))


def _same(pattern: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return all(mine == part or _any(mine) for mine, part in zip(pattern, parts, strict=False))


def parse_route(text: str, purpose: str) -> Route:
    """Read a pattern; raises ValueError if it is none."""
    method, _, path = text.strip().rpartition(" ")
    method = method.strip().upper()
    if method and method not in METHODS:
        raise ValueError(f"unknown method `{method[:16]}`")
    if not path.startswith("/"):
        raise ValueError("a route starts with `/`")
    parts = _split(path)
    if any(part.startswith("<") and part.endswith(">") for part in parts):
        raise ValueError("a part that varies is written `{name}`, not `<name>`")
    if any(set("*{}").intersection(part) and not _any(part) for part in parts):
        raise ValueError("`*` or `{name}` stands for a whole segment")
    return Route(method, parts, purpose)


def _split(path: str) -> tuple[str, ...]:
    return tuple(part for part in path.split("/") if part)


def like(name: str, pattern: str) -> bool:
    """Whether a name fits a pattern in which `*` stands for any text, and nothing else is special.

    Names of jobs and routes may hold brackets and question marks of their own.
    """
    return fnmatchcase(name, pattern.replace("[", "[[]").replace("?", "[?]"))


class Routes:
    """All routes of a configuration; the most exact pattern that fits counts."""

    __slots__ = ("_find", "all")

    def __init__(self, routes: Iterable[Route]) -> None:
        self.all = tuple(sorted(routes, key=lambda route: route.weight, reverse=True))
        self._find = lru_cache(maxsize=_MOST)(self._look)

    def find(self, method: str, path: str) -> Route | None:
        """The route of a request, None if no pattern fits."""
        return self._find(method.upper(), path)

    def purpose(self, method: str, path: str) -> str | None:
        """The purpose of a request, None if no pattern fits."""
        route = self.find(method, path)
        return None if route is None else route.purpose

    def _look(self, method: str, path: str) -> Route | None:
        parts = _split(path)
        found = next((route for route in self.all if route.fits(method, parts)), None)
        if found is None and method == "HEAD":
            # A HEAD runs the code of the GET, for the same purpose.
            return self._look("GET", path)
        return found


@dataclass(frozen=True, slots=True)
class JobPattern:
    """A pattern for names of background jobs: `reports.daily`, `reports.*`.

    Attributes:
        name: `*` stands for any text.
        purpose: dotted.
    """

    name: str
    purpose: str


class Jobs:
    """All jobs of a configuration; the most exact pattern that fits counts."""

    __slots__ = ("_find", "all")

    def __init__(self, jobs: Iterable[JobPattern]) -> None:
        self.all = tuple(sorted(jobs, key=_exactness, reverse=True))
        self._find = lru_cache(maxsize=_MOST)(self._look)

    def find(self, name: str) -> JobPattern | None:
        """The pattern of a job, None if none fits."""
        return self._find(name)

    def purpose(self, name: str) -> str | None:
        """The purpose of a job, None if no pattern fits."""
        found = self.find(name)
        return None if found is None else found.purpose

    def _look(self, name: str) -> JobPattern | None:
        return next((one for one in self.all if like(name, one.name)), None)


def _exactness(job: JobPattern) -> tuple[bool, int]:
    return "*" not in job.name, len(job.name.replace("*", ""))
