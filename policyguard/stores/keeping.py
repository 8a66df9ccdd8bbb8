"""What every store here can do: look people up, add what they decided, forget them.

Layer: stores. Where the rows stand is left to those who build on it. Start reading at
`KeptSubjects`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import EllipsisType
from typing import Any, Final

from policyguard.enforce.asking import kind_of
from policyguard.enforce.crew import Crew
from policyguard.stores.known import Answers, Change, Said, key_of, read, required_key

_LOGGER: Final = logging.getLogger("policyguard")
_AT_ONCE: Final = 500
_TOLD: Final = 20


class KeptSubjects(ABC):
    """A store of subjects that keeps one row for each person."""

    def __init__(self) -> None:
        self._crew = Crew()
        self._odd: set[str] = set()

    # Reading.

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        """What is known about a person, None if nothing is.

        Raises:
            StoreError: the store can't be read.

        Cost: one look-up of a row by its key.
        """
        return self.facts_of((subject,)).get(subject)

    async def afacts(self, subject: object, /) -> Mapping[str, Any] | None:
        """As `facts`, in another thread."""
        return await self._crew.acall(lambda _: self.facts(subject))

    def facts_of(self, subjects: Iterable[object], /) -> dict[object, Mapping[str, Any]]:
        """What is known about many people; who isn't known is left out.

        Raises:
            StoreError: the store can't be read.
        """
        keys: dict[str, object] = {}
        for subject in subjects:
            key = key_of(subject)
            if key is None:
                self._tell(subject)
            else:
                keys[key] = subject
        rows = self._rows(tuple(keys)) if keys else {}
        return {keys[key]: read(text) for key, text in rows.items() if key in keys}

    def _tell(self, subject: object) -> None:
        """Say once for each kind that nothing can be known about such a subject."""
        kind = kind_of(subject)
        if kind not in self._odd and len(self._odd) < _TOLD:
            self._odd.add(kind)
            what = "PG205 a subject of type %s can't be in the store, or is too long: unknown"
            _LOGGER.error(what, kind)

    # Writing.

    def update(
        self,
        subject: object,
        *,
        consent: Answers = None,
        opt_out: Answers = None,
        restricted: Said = ...,
        age: int | EllipsisType | None = ...,
        region: str | EllipsisType | None = ...,
        legal_request: Said = ...,
        facts: Answers = None,
    ) -> None:
        """Add what a person decided to what is known; the rest stays as it is.

        Args:
            subject: a text, a whole number or a UUID.
            consent: purpose to True, False (refused or withdrawn) or None (no answer any more).
            opt_out: likewise.
            restricted: the person's data are restricted; None: not known any more. So the others:
            age: whole years.
            region: where the person is: an ISO 3166 code, EU or EEA.
            legal_request: an authority asked for the person's data.
            facts: facts that the policy declares, by name.

        Raises:
            ValueError: something isn't of its type. Nothing is stored then.
            StoreError: the store can't be written.
        """
        change = Change(
            consent=consent,
            opt_out=opt_out,
            restricted=restricted,
            age=age,
            region=region,
            legal_request=legal_request,
            facts=facts,
        )
        self._lay_over(required_key(subject), change)

    def forget(self, subject: object) -> None:
        """Erase what is known about a person, and that there ever was one.

        Raises:
            ValueError: the subject can't be one.
            StoreError: the store can't be written.
        """
        self._erase(required_key(subject))

    # Where the rows stand.

    @abstractmethod
    def _rows(self, keys: Sequence[str]) -> Mapping[str, str]:
        """The rows of these keys as they were written."""

    @abstractmethod
    def _lay_over(self, key: str, change: Change) -> None:
        """Change a row in one step, with nobody else in between."""

    @abstractmethod
    def _erase(self, key: str) -> None:
        """Remove a row."""


def parts(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    """Keys in as many parts as statements can take."""
    for start in range(0, len(keys), _AT_ONCE):
        yield keys[start : start + _AT_ONCE]
