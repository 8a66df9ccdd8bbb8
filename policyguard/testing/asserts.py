"""Assertions about recorded flows, with messages that say what was seen and where.

Layer: testing. A word that the policy doesn't know is an error: a misspelt category would make an
assertion that nothing was seen true for ever. Start reading at `assert_none_left`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from policyguard.enforce.named import Named
from policyguard.errors import TermError
from policyguard.policy.flow import Form, Verdict
from policyguard.policy.terms import RecipientKind, at_or_below
from policyguard.testing.recorder import Recorder, Seen

_KINDS: Final = get_args(RecipientKind)
_SHOWN: Final = 20
Listed = tuple[str, str | None, str]


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which flows are meant; what is None matches all."""

    data: str | None = None
    to: str | None = None
    purpose: str | None = None
    kind: str | None = None
    form: Form | None = None
    verdict: Verdict | None = None
    effect: str | None = None

    def checks(self, seen: Seen) -> tuple[bool, ...]:
        """One answer for each thing that is asked."""
        return (
            self.data is None or at_or_below(seen.data, self.data),
            self.to is None or seen.recipient == self.to,
            self.purpose is None or at_or_below(seen.purpose or "", self.purpose),
            self.kind is None or seen.kind == self.kind,
            self.form is None or seen.form == self.form,
            self.verdict is None or seen.verdict == self.verdict,
            self.effect is None or seen.effect == self.effect,
        )

    def fits(self, seen: Seen) -> bool:
        return all(self.checks(seen))

    def __str__(self) -> str:
        """As one reads it: `user.contact` to `mailer`, for `marketing`."""
        parts = [
            f"of `{self.data}`" if self.data else "",
            f"in form {', '.join(sorted(self.form)) or 'raw'}" if self.form is not None else "",
            f"to `{self.to}`" if self.to else "",
            f"to any recipient of kind `{self.kind}`" if self.kind else "",
            f"for `{self.purpose}`" if self.purpose else "",
            f"with verdict {self.verdict}" if self.verdict else "",
            f"that is {self.effect}" if self.effect else "",
        ]
        return " ".join(["flow", *(part for part in parts if part)])


def assert_flow(
    recorder: Recorder,
    *,
    data: str | None = None,
    to: str | None = None,
    purpose: str | None = None,
    kind: str | None = None,
    form: str | Iterable[str] | None = None,
    verdict: Verdict | None = None,
    effect: str | None = None,
) -> Seen:
    """At least one such flow was seen.

    Args:
        recorder: what was seen.
        data: this data category or one below it.
        to: a recipient's id, or the host of one that nobody declared.
        purpose: this purpose or one below it.
        kind: of the recipient.
        form: exactly this form; "raw" for none.
        verdict: allow, deny or conditional.
        effect: allowed, blocked, redacted, waived, flagged or ignored.

    Returns:
        The first one.

    Raises:
        AssertionError: none; shows those that come nearest.
        TermError: the policy doesn't know a word.
    """
    __tracebackhide__ = True
    closed = None if form is None else Named(recorder.guard.snapshot).form(form)
    wanted = _wanted(recorder, data=data, to=to, purpose=purpose, kind=kind)
    wanted = _Wanted(wanted.data, to, purpose, kind, closed, verdict, effect)
    for seen in _whole(recorder):
        if wanted.fits(seen):
            return seen
    ordered = sorted(recorder.flows, key=lambda seen: -sum(wanted.checks(seen)))
    raise _failed(recorder, f"no {wanted} was seen", ordered[:3], "nearest")


def assert_no_flows(
    recorder: Recorder,
    *,
    data: str | None = None,
    to: str | None = None,
    purpose: str | None = None,
    kind: str | None = None,
) -> None:
    """No such flow was seen, not even one that was denied. Arguments as `assert_flow`.

    Raises:
        AssertionError: with the flows.
        TermError: the policy doesn't know a word.
    """
    __tracebackhide__ = True
    wanted = _wanted(recorder, data=data, to=to, purpose=purpose, kind=kind)
    found = [seen for seen in _whole(recorder) if wanted.fits(seen)]
    if found:
        raise _failed(recorder, f"there must be no {wanted}", found)


def assert_only_flows(recorder: Recorder, expected: Sequence[Listed]) -> None:
    """Every flow that was seen, also a denied one, is one of these. They needn't all be seen.

    Args:
        recorder: what was seen.
        expected: (data, purpose, recipient), each standing for what is below it too; a purpose of
            None stands for any.

    Raises:
        AssertionError: with the flows that are none of these.
        TermError: the policy doesn't know a word.
    """
    __tracebackhide__ = True
    listed = [
        _wanted(recorder, data=data, to=to, purpose=purpose) for data, purpose, to in expected
    ]
    others = [seen for seen in _whole(recorder) if not any(one.fits(seen) for one in listed)]
    if others:
        lines = "".join(f"\n  {one}" for one in listed) or "\n  nothing"
        raise _failed(recorder, f"only these were expected:{lines}", others, "but this was seen")


def assert_none_left(recorder: Recorder, *, data: str | None = None, to: str | None = None) -> None:
    """Nothing left the company: no flow that passed to a recipient outside may hold this data.

    Passed means allowed, flagged, waived, or ignored by mode off. Outside is every recipient but
    those of kind first_party, first_party_human, store and data_subject. Data above this category,
    and data whose category can't be told, may hold it.

    Args:
        recorder: what was seen.
        data: data category; by default any.
        to: a recipient's id; by default any.

    Raises:
        AssertionError: with the flows.
        TermError: the policy doesn't know a word.
    """
    __tracebackhide__ = True
    wanted = _wanted(recorder, data=data, to=to)

    def may_hold(seen: Seen) -> bool:
        doubt = data is None or not seen.data or at_or_below(data, seen.data)
        return (doubt or at_or_below(seen.data, data or "")) and to in (None, seen.recipient)

    found = [seen for seen in _whole(recorder) if seen.left and may_hold(seen)]
    if found:
        raise _failed(
            recorder, f"no {wanted} may leave the company", found, "but this left or may have"
        )


def _wanted(
    recorder: Recorder,
    *,
    data: str | None = None,
    to: str | None = None,
    purpose: str | None = None,
    kind: str | None = None,
) -> _Wanted:
    """The words, each checked against the policy."""
    named = Named(recorder.guard.snapshot)
    if data is not None:
        named.label(data)
    if purpose is not None:
        named.purpose(purpose)
    # A host that nobody declared is its own id; an id with a dot may be meant as one.
    if to is not None and "." not in to:
        named.recipient(to)
    if kind is not None and kind not in _KINDS:
        raise TermError("unknown kind of recipient", hint=f"one of {', '.join(_KINDS)}")
    return _Wanted(data, to, purpose, kind)


def _whole(recorder: Recorder) -> tuple[Seen, ...]:
    """All flows; a recorder that lost some proves nothing."""
    __tracebackhide__ = True
    if recorder.full:
        raise AssertionError("the recorder is full, so it can't tell; record a smaller part")
    return recorder.flows


def _failed(
    recorder: Recorder, what: str, seen: Sequence[Seen], heading: str = "but this was seen"
) -> AssertionError:
    counted = Counter(seen)
    lines = [what]
    lines += [f"{heading}:"] if counted else []
    for one, times in list(counted.items())[:_SHOWN]:
        often = f" ({times} times)" if times > 1 else ""
        lines.append(f"  {one}{often}")
        places = [f"read at {one.read_at}"] if one.read_at else []
        part = f" ({one.where})" if one.where else ""
        places += [f"sent at {one.sent_at}{part}"] if one.sent_at else []
        lines += [f"    {', '.join(places)}"] if places else []
    if len(counted) > _SHOWN:
        lines.append(f"  and {len(counted) - _SHOWN} more")
    total, denied = len(recorder.flows), len(recorder.denied)
    lines.append(f"recorded: {total} flow{'' if total == 1 else 's'}, {denied} of them denied")
    return AssertionError("\n".join(lines))
