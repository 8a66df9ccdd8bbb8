"""Each part is broken in turn, and nothing passes."""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from policyguard import Guard, PolicyViolation
from policyguard.enforce.modes import Enforcement, Match, Modes, Switch
from policyguard.enforce.plans import Planner
from policyguard.enforce.ports import Record
from policyguard.enforce.sql import planner_of
from policyguard.enforce.transforms import TransformDecorator
from policyguard.enforce.waivers import Waiver, Waivers
from policyguard.errors import PolicyGuardError
from policyguard.inspectors.http import OutgoingRequest
from policyguard.policy.hosts import HostTable
from tests.enforce.kit import (
    ACCOUNT,
    ADDRESS,
    ADS,
    COUNTING,
    DATA_MAP,
    EMAIL,
    FACE,
    POLICY,
    SECURITY,
    Memory,
    guard,
)

BREAKS = [RecursionError, MemoryError, ValueError, KeyError, AssertionError, OSError, SystemError]
Attempt = Callable[[Guard], None]


def by_sink(made: Guard) -> None:
    """The address as an argument for the pixel."""

    @made.sink("pixel")
    def track(event: object) -> None:
        raise AssertionError("the function ran")

    track({"user": {"mail": ADDRESS}})


def by_check(made: Guard) -> None:
    """The address, asked about by hand."""
    made.check(ADDRESS, to="pixel")


def by_http(made: Guard) -> None:
    """The address in the body of a request."""
    body = json.dumps({"m": ADDRESS}).encode()
    made.egress(OutgoingRequest("POST", "pixel.example", "https", "/tr", body=body))


def by_sql(made: Guard) -> None:
    """The address into the pixel's table."""
    made.sql("INSERT INTO audience VALUES (?)", dialect="sqlite", parameters=(ADDRESS,))


ATTEMPTS: dict[str, Attempt] = {
    "sink": by_sink,
    "check": by_check,
    "http": by_http,
    "sql": by_sql,
}
every_sink = pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)


def stopped(made: Guard, attempt: Attempt, purpose: str = ADS) -> PolicyViolation:
    """The attempt is denied by a violation, and by nothing else."""
    with made.purpose(purpose):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            attempt(made)
    assert ADDRESS not in str(caught.value)
    return caught.value


@every_sink
def test_with_all_parts_whole_it_is_stopped(attempt: Attempt) -> None:
    """The measure for all that follows."""
    assert stopped(guard(), attempt).decision.reason == "not_covered"


# The reporter.


class Broken:
    """A reporter that raises."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def report(self, record: Record) -> None:
        """Raise, with a value in the text."""
        raise self.error(ADDRESS)


@every_sink
@pytest.mark.parametrize("error", BREAKS)
def test_a_reporter_that_raises(attempt: Attempt, error: type[Exception]) -> None:
    """The verdict stands, and the next reporter is told."""
    memory = Memory()
    stopped(guard("block", Broken(error), memory), attempt)
    assert len(memory.records) >= 1


@every_sink
def test_a_reporter_that_is_interrupted(attempt: Attempt) -> None:
    """An interrupt goes through, and so does nothing else."""
    made = guard("flag", Broken(KeyboardInterrupt))
    with made.purpose(ADS):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(KeyboardInterrupt):
            attempt(made)


@pytest.fixture
def broken_logging() -> Iterator[None]:
    """A filter of the application that raises on every line of ours."""

    def refuse(record: logging.LogRecord) -> bool:
        raise ZeroDivisionError(ADDRESS)

    logger = logging.getLogger("policyguard")
    logger.addFilter(refuse)
    yield
    logger.removeFilter(refuse)


@every_sink
@pytest.mark.usefixtures("broken_logging")
def test_logging_that_raises(attempt: Attempt) -> None:
    """Block still blocks; flag still passes: logging decides nothing."""
    stopped(guard(), attempt)
    made = guard("flag")
    with made.purpose(ADS):
        assert made.check("x", to="pixel", data=EMAIL).verdict == "deny"


# The registry.


@pytest.mark.parametrize("attempt", [by_sink, by_check, by_http])
def test_a_saturated_registry(attempt: Attempt) -> None:
    """What wasn't remembered can't be found, so what leaves can't be told."""
    made = guard()
    with made.purpose(ADS):
        made.remember([f"person.{n}@mail.example.org" for n in range(10_050)], made.label(EMAIL))
        assert made.registry.saturated
        with pytest.raises(PolicyViolation) as caught:
            attempt(made)
    assert caught.value.decision.reason in {"cannot_tell", "unlabelled"}


# The SQL inspector.


class BrokenCatalog:
    """A catalog that nothing can be looked up in."""

    def __init__(self, error: type[Exception]) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error(ADDRESS)


def _broken_planner(made: Guard, error: type[Exception]) -> None:
    planner = planner_of(made.in_force)
    assert isinstance(planner, Planner)
    planner.catalog = BrokenCatalog(error)  # type: ignore[assignment]  # it is broken


@pytest.mark.parametrize("error", BREAKS)
@pytest.mark.parametrize("text", ["SELECT 1", "SELECT email FROM users", "DELETE FROM faces"])
def test_an_inspector_that_breaks(error: type[Exception], text: str) -> None:
    """No statement runs, whatever it is, and the violation is ours."""
    made = guard()
    _broken_planner(made, error)
    with made.purpose(ACCOUNT), pytest.raises(PolicyViolation) as caught:
        made.sql(text, dialect="sqlite")
    assert caught.value.decision.reason == "cannot_tell"
    assert ADDRESS not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_inspector_that_recovers() -> None:
    """A failure isn't remembered: with room again, the same text is understood."""
    made = guard()
    planner = planner_of(made.in_force)
    assert planner is not None
    whole = planner.catalog
    _broken_planner(made, MemoryError)
    with made.purpose(ACCOUNT):
        with pytest.raises(PolicyViolation):
            made.sql("SELECT email FROM users", dialect="sqlite")
        planner.catalog = whole
        assert made.sql("SELECT email FROM users", dialect="sqlite").labelled


BAD_SQL = [
    "SELECT (" * 5_000 + "1" + ")" * 5_000,
    "SELECT " + "x," * 200_000 + "1",
    "SELECT \0",
    "'",
    "\ud800",
    "/*!50000 INSERT INTO audience SELECT email FROM users */",
    "INSERT INTO audience SELECT" + "(" * 999,
]


@pytest.mark.parametrize("text", BAD_SQL, ids=range(len(BAD_SQL)))
def test_sql_made_to_break_the_parser(text: str) -> None:
    """It is never clean: at least reported as cannot-tell, and stopped where it may send."""
    memory = Memory()
    made = guard("block", memory)
    with made.purpose(ACCOUNT):
        try:
            assert made.sql(text, dialect="mysql").unresolved
        except PolicyViolation as violation:
            assert violation.decision.reason == "cannot_tell"  # noqa: PT017 - both ways are right
    assert {record.decision.reason for record in memory.records} == {"cannot_tell"}
    assert all(record.decision.flow.recipient != "mailer" for record in memory.records)


# The payload inspector.


def _deep() -> bytes:
    return b'{"a":' * 50_000 + json.dumps(ADDRESS).encode() + b"}" * 50_000


class Hostile(dict[str, Any]):
    """A dict of the application's that fights back."""

    def items(self) -> Any:
        raise SystemError(ADDRESS)

    def __iter__(self) -> Any:
        raise SystemError(ADDRESS)


class Loud:
    """An object whose every special method raises."""

    def __str__(self) -> str:
        raise SystemError(ADDRESS)

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise SystemError(ADDRESS)

    def __hash__(self) -> int:
        raise SystemError(ADDRESS)


CYCLE: list[Any] = [ADDRESS]
CYCLE.append(CYCLE)
VALUES: dict[str, Callable[[], object]] = {
    "deep JSON": lambda: _deep().decode(),
    "deep JSON in bytes": _deep,
    "a cycle": lambda: CYCLE,
    "a hostile dict": lambda: Hostile(mail=ADDRESS),
    "beside a loud object": lambda: [Loud(), ADDRESS],
    "too many parts": lambda: [*range(500_000), ADDRESS],
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_made_to_break_the_search(value: Callable[[], object]) -> None:
    """Found or not to be told: in both cases it stays here."""

    def attempt(made: Guard) -> None:
        @made.sink("pixel")
        def track(event: object) -> None:
            raise AssertionError("the function ran")

        track(value())

    stopped(guard(), attempt)


BODIES: dict[str, tuple[bytes, tuple[tuple[str, str], ...]]] = {
    "deep JSON": (_deep(), (("content-type", "application/json"),)),
    "broken JSON": (b'{"m": "', (("content-type", "application/json"),)),
    "no gzip": (b"no gzip", (("content-encoding", "gzip"),)),
    "half a gzip": (gzip.compress(ADDRESS.encode())[:-9], (("content-encoding", "gzip"),)),
    "unknown coding": (ADDRESS.encode(), (("content-encoding", "sdch"),)),
    "a bomb": (gzip.compress(b"0" * 80_000_000), (("content-encoding", "gzip"),)),
    "zipped ten times": (b"", (("content-encoding", "deflate"),)),
    "no boundary": (b"--x\r\n\r\n", (("content-type", "multipart/form-data"),)),
}


@pytest.mark.parametrize(("body", "headers"), BODIES.values(), ids=BODIES)
def test_a_body_made_to_break_the_search(body: bytes, headers: tuple[tuple[str, str], ...]) -> None:
    """A body that can't be read in full can't be told, to whomever it goes."""
    if not body:
        body = ADDRESS.encode()
        for _ in range(10):
            body = zlib.compress(body)

    def attempt(made: Guard) -> None:
        sent = OutgoingRequest("POST", "mail.example", "https", "/", headers=headers, body=body)
        made.egress(sent)

    assert stopped(guard(), attempt, ACCOUNT).decision.reason == "cannot_tell"


# The host table.


class BrokenTable(HostTable):
    """A table that can't look anything up."""

    def find(self, host: str, path: str = "/") -> tuple[str, ...]:
        """Raise."""
        raise IndexError(ADDRESS)


def test_a_host_table_that_breaks() -> None:
    """A host that can't be looked up is nobody, even where it would be allowed."""
    made = guard()

    def attempt(asked: Guard) -> None:
        body = json.dumps({"m": ADDRESS}).encode()
        asked.egress(OutgoingRequest("POST", "mail.example", "https", "/", body=body))

    with made.purpose(ACCOUNT):
        made.remember(ADDRESS, made.label(EMAIL))
        attempt(made)
    made.hosts = BrokenTable(())
    assert stopped(made, attempt, ACCOUNT).decision.reason == "unknown_recipient"


# Clock, switch, files.


def _no_day() -> date:
    raise OverflowError(ADDRESS)


def _modes(kind: str, folder: Path) -> Modes:
    if kind == "clock":
        return Modes("off", (Enforcement(Match(), "off"),), today=_no_day)
    file = folder / "switch"
    if kind == "garbage":
        file.write_bytes(os.urandom(200))
    elif kind == "folder":
        file.mkdir()
    else:
        os.mkfifo(file)
    return Modes("off", switch=Switch(file))


@every_sink
@pytest.mark.parametrize("kind", ["clock", "garbage", "folder", "pipe"])
def test_clock_and_switch(attempt: Attempt, kind: str, tmp_path: Path) -> None:
    """A guard that is off blocks as soon as what turned it off can't be trusted."""
    made = guard()
    made.modes = _modes(kind, tmp_path)
    stopped(made, attempt)


@every_sink
def test_files_that_are_gone_after_the_start(attempt: Attempt, tmp_path: Path) -> None:
    """Policy and data map are read once; without their files all stays as it was."""
    policy, data_map = tmp_path / "p.yaml", tmp_path / "m.yaml"
    shutil.copy(POLICY, policy)
    shutil.copy(DATA_MAP, data_map)
    made = Guard.load(policy, data_map=data_map)
    policy.unlink()
    data_map.unlink()
    stopped(made, attempt)


# Clocks of waivers, transforms and entries.


def _hour_back() -> date:
    return (datetime.now(UTC) - timedelta(hours=1)).date()


def _ten_years_on() -> date:
    return date(datetime.now(UTC).year + 10, 1, 1)


def _no_date() -> date:
    return None  # type: ignore[return-value]  # a clock that lies


def _with_a_time() -> date:
    return datetime.now(UTC)


CLOCKS: dict[str, Callable[[], date]] = {
    "raises": _no_day,
    "ten years on": _ten_years_on,
    "gives nothing": _no_date,
    "gives a time": _with_a_time,
}
LAST_DAY = datetime.now(UTC).date() + timedelta(days=30)
broken_clock = pytest.mark.parametrize("clock", CLOCKS.values(), ids=CLOCKS)


def _waived(made: Guard, clock: Callable[[], date]) -> None:
    waiver = Waiver(Match(recipient="pixel"), "anna", "a campaign", LAST_DAY)
    made.swap(made.in_force.but(waivers=Waivers([waiver], today=clock)))


@every_sink
@broken_clock
def test_a_waiver_whose_clock_fails(attempt: Attempt, clock: Callable[[], date]) -> None:
    """Without a day, or past its last one, no waiver is known to be in force."""
    made = guard()
    _waived(made, clock)
    stopped(made, attempt)


@pytest.mark.parametrize("clock", [_hour_back, lambda: LAST_DAY])
def test_a_waiver_whose_clock_jumps_within_its_days(clock: Callable[[], date]) -> None:
    """An hour back changes nothing but at midnight: the waiver stands, and is reported."""
    memory = Memory()
    made = guard("block", memory)
    _waived(made, clock)
    with made.purpose(ADS):
        assert not made.check(ADDRESS, to="pixel", data=EMAIL).allowed
    assert [record.effect for record in memory.records] == ["waived"]


@broken_clock
def test_a_transform_whose_clock_fails(clock: Callable[[], date]) -> None:
    """Without a day, or past its last one, the result counts as what went in."""
    made = guard()
    form = made.in_force.named.form(("aggregated", "anonymised"))
    claim = TransformDecorator(made, form, "anna", LAST_DAY, today=clock)
    total = claim(lambda value: [value, "7f3a9c1d27e5b4860aa1"])
    whole = TransformDecorator(made, form, "anna", LAST_DAY, today=_hour_back)
    with made.context(purpose=COUNTING):
        made.remember(ADDRESS, made.label(EMAIL))
        with pytest.raises(PolicyViolation) as caught:
            made.check(total(ADDRESS)[1], to="public")
        assert caught.value.decision.flow.data == EMAIL
        assert made.check(
            whole(lambda value: ["c0417be52d9f8836e1d4"])(ADDRESS)[0], to="public"
        ).allowed


@every_sink
@broken_clock
def test_an_entry_whose_clock_fails(attempt: Attempt, clock: Callable[[], date]) -> None:
    """A block that begins some day is in force where nobody can tell the day."""
    made = guard()
    start = datetime.now(UTC).date() - timedelta(days=1)
    made.modes = Modes("flag", (Enforcement(Match(), "block", start=start),), today=clock)
    stopped(made, attempt)


# A reload that fails.


def _in_its_place(put: Callable[[Path], object]) -> Callable[[Path], object]:
    def fault(file: Path) -> None:
        file.unlink()
        put(file)

    return fault


RELOAD_FAULTS: dict[str, Callable[[Path], object]] = {
    "half": lambda file: file.write_text(file.read_text()[:300] + "\n{"),
    "empty": lambda file: file.write_text(""),
    "garbage": lambda file: file.write_bytes(os.urandom(300)),
    "allows all": lambda file: file.write_text("policyguard: 1\ndefault: allow\n"),
    "gone": lambda file: file.unlink(),
    "a folder": _in_its_place(Path.mkdir),
    "a pipe": _in_its_place(os.mkfifo),
    "endless": _in_its_place(lambda file: file.symlink_to("/dev/zero")),
}


@every_sink
@pytest.mark.parametrize("which", ["policy", "map"])
@pytest.mark.parametrize("fault", RELOAD_FAULTS.values(), ids=RELOAD_FAULTS)
def test_a_reload_that_fails(
    attempt: Attempt,
    fault: Callable[[Path], object],
    which: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was in force stays in force, whole, and the failure is loud."""
    files = {"policy": tmp_path / "p.yaml", "map": tmp_path / "m.yaml"}
    shutil.copy(POLICY, files["policy"])
    shutil.copy(DATA_MAP, files["map"])
    made = Guard.load(files["policy"], data_map=files["map"])
    before = made.in_force
    fault(files[which])
    assert not made.reload()
    assert made.in_force is before
    assert "PG603" in caplog.text
    stopped(made, attempt)
    with pytest.raises(PolicyGuardError):
        Guard.load(files["policy"], data_map=files["map"])


@every_sink
@pytest.mark.parametrize("error", BREAKS)
def test_a_reload_that_breaks(
    attempt: Attempt, error: type[Exception], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever reading raises is told by its kind only, and changes nothing."""
    made = guard()
    reloader = made._reloader
    assert reloader is not None

    def read() -> Any:
        raise error(ADDRESS)

    reloader._read = read
    assert not made.reload()
    assert "PG603 a changed file can't be used; what was in force stays" in caplog.text
    assert f"reading failed with {error.__name__}" in caplog.text
    assert ADDRESS not in caplog.text
    stopped(made, attempt)


# No room left.


@pytest.mark.parametrize("attempt", ATTEMPTS.values(), ids=ATTEMPTS)
def test_at_every_depth_of_the_stack(attempt: Attempt) -> None:
    """With no frames left it is a violation or a RecursionError, never a pass."""
    made = guard()
    ends: list[str] = []

    def dive() -> None:
        with contextlib.suppress(RecursionError):
            dive()
        if len(ends) < 120:
            try:
                attempt(made)
                ends.append("passed")
            except (PolicyViolation, RecursionError) as error:
                ends.append(type(error).__name__)

    limit = sys.getrecursionlimit()
    logging.getLogger("policyguard").setLevel(logging.CRITICAL)
    try:
        with made.purpose(ADS):
            made.remember(ADDRESS, made.label(EMAIL))
            with pytest.raises(PolicyViolation):
                attempt(made)
            sys.setrecursionlimit(400)
            dive()
    finally:
        sys.setrecursionlimit(limit)
        logging.getLogger("policyguard").setLevel(logging.NOTSET)
    assert set(ends) <= {"PolicyViolation", "RecursionError"}
    assert "PolicyViolation" in ends


def test_nothing_named_is_read_without_its_purpose_when_all_is_broken() -> None:
    """Faces stay where they are with every part broken at once."""
    made = guard("block", Broken(MemoryError))
    made.hosts = BrokenTable(())
    made.modes = Modes("off", (Enforcement(Match(), "off"),), today=_no_day)
    _broken_planner(made, RecursionError)
    for purpose in (ADS, SECURITY):
        with made.purpose(purpose):
            made.remember([n * 0.37 % 1 for n in range(64)], made.label(FACE))
            with pytest.raises(PolicyViolation):
                made.sql("SELECT embedding FROM faces", dialect="sqlite")
