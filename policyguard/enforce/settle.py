"""What becomes of denied flows: blocked, redacted, waived, flagged or ignored; and who is told.

Layer: enforce. Every denied flow is counted, whatever becomes of it. Start reading at `settle`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from policyguard.enforce.context import current_scope
from policyguard.enforce.inforce import InForce
from policyguard.enforce.modes import STRICTNESS
from policyguard.enforce.ports import At, Effect, Mode, Record, Reporter
from policyguard.enforce.site import call_site
from policyguard.enforce.violation import Judged, PolicyViolation, build, fingerprint
from policyguard.enforce.waivers import Waiver
from policyguard.policy.flow import Label

if TYPE_CHECKING:
    from policyguard.enforce.judge import Judge

Redact = Callable[[frozenset[Label]], bool]
_LOGGER: Final = logging.getLogger("policyguard")
_EFFECTS: Final[dict[Mode, Effect]] = {"off": "ignored", "flag": "flagged"}


class _Case(NamedTuple):
    """A denied flow with what is to be done about it."""

    judged: Judged
    mode: Mode
    waiver: Waiver | None


class _Place(NamedTuple):
    """Where denied flows were seen."""

    at: At
    sent_at: str
    host: str


def settle(
    judge: Judge,
    now: InForce,
    denied: Sequence[Judged],
    *,
    at: At,
    host: str,
    redact: Redact | None,
    strict: bool = False,
) -> None:
    """Count and report denied flows and, if one is blocked, raise.

    Args:
        judge: whose reporters and tally count.
        now: the policy that decided.
        denied: at least one.
        at: where they were seen.
        host: for http.
        redact: takes denied labels out of what leaves; None where nothing can be taken out.
        strict: block, whatever mode and waivers say.

    Raises:
        PolicyViolation: for the worst flow that is blocked.
    """
    ordered = sorted(denied, key=lambda each: each.rank, reverse=True)
    cases = [_Case(one, "block", None) if strict else _case(now, one, at) for one in ordered]
    redacted = _redacted(cases, redact)
    place = _Place(at, call_site(), host)
    blocked = []
    for case in cases:
        effect: Effect = "waived" if case.waiver else _EFFECTS.get(case.mode, "blocked")
        if case.mode == "redact" and redacted:
            effect = "redacted"
        violation = _report(judge, now, case, effect, place)
        if violation is not None:
            blocked.append(violation)
    if blocked:
        others = dict.fromkeys(other.what for other in blocked[1:])
        blocked[0].also = tuple(what for what in others if what != blocked[0].what)
        raise blocked[0]


def _case(now: InForce, judged: Judged, at: At) -> _Case:
    scope = current_scope()
    mode = now.modes.of(now.snapshot, judged.decision, at, judged.strength, scope)
    floor = now.modes.floor
    if STRICTNESS.index(mode) <= STRICTNESS.index("flag") or floor in ("redact", "block"):
        return _Case(judged, mode, None)
    waiver = now.waivers.find(now.snapshot, judged.decision, at, scope.route if scope else "")
    return _Case(judged, mode if waiver is None else "flag", waiver)


def _redacted(cases: Sequence[_Case], redact: Redact | None) -> bool:
    """Take out what is to be redacted, if nothing is blocked anyway; whether that worked."""
    labels = frozenset(case.judged.label for case in cases if case.mode == "redact")
    # What has no data category can't be told apart from the rest, so it can't be taken out.
    if not labels or redact is None or not all(label.data for label in labels):
        return False
    if any(case.mode == "block" for case in cases):
        return False
    try:
        return redact(labels)
    except Exception as error:  # noqa: BLE001 - whatever broke, nothing was taken out for certain
        # Denies: what can't be redacted is blocked. The error may quote data: its kind is told.
        _LOGGER.error("PG209 redaction failed with %s; the flow is blocked", type(error).__name__)  # noqa: TRY400 - the trace may hold data
        return False


def _report(
    judge: Judge, now: InForce, case: _Case, effect: Effect, place: _Place
) -> PolicyViolation | None:
    """Count and report one denied flow; the violation if it is to be raised."""
    one = case.judged
    judge.tally.denied(one.decision, "deny" if effect == "blocked" else effect, case.mode)
    if effect == "ignored":
        return None
    violation = partial(_violation, now, case, effect, place, judge.transforms)
    raised = violation() if effect == "blocked" else None
    scope = current_scope()
    record = Record(
        decision=one.decision,
        mode=case.mode,
        effect=effect,
        at=place.at,
        source=one.label.source,
        read_at=one.label.at,
        sent_at=place.sent_at,
        where=one.where,
        host=place.host,
        strength=one.strength,
        route=scope.route if scope else "",
        fingerprint=fingerprint(one.decision, place.at, one.label.source, place.sent_at),
        policy=now.snapshot.id,
        say=lambda: str(raised or violation()),
    )
    for reporter in judge.reporters:
        _tell(reporter, record)
    return raised


def _violation(
    now: InForce, case: _Case, effect: Effect, place: _Place, transforms: frozenset[str]
) -> PolicyViolation:
    """A denied flow in words, with what became of it."""
    made = build(
        now.snapshot, case.judged, at=place.at, sent_at=place.sent_at, transforms=transforms
    )
    made.what = made.what.replace("blocked:", f"{effect}:", 1)
    if case.waiver is not None:
        made.because = f"{made.because}\n{case.waiver.sentence}"
    return made


def _tell(reporter: Reporter, record: Record) -> None:
    try:
        reporter.report(record)
    except Exception:  # noqa: BLE001 - a reporter is foreign code
        # Denies: nothing, and allows nothing: the verdict stands whatever a reporter does. Its
        # error may quote data, so only its kind is told.
        kind = type(reporter).__name__
        with suppress(Exception):  # the logging that failed may be the application's own
            _LOGGER.error("PG602 reporter %s failed; the verdict stands", kind)  # noqa: TRY400 - the trace may hold data
