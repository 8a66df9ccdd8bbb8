"""A canary is sent down every path, and none of our words sings it."""

from __future__ import annotations

import base64
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import quote

import pytest

from policyguard import Guard, PluginError, PolicyGuardError, PolicyViolation
from policyguard.enforce.context import current_scope
from policyguard.enforce.modes import Match
from policyguard.enforce.ports import Record
from policyguard.enforce.subjects import Subjects
from policyguard.enforce.waivers import Waiver, Waivers
from policyguard.engine.compile import compile_policy
from policyguard.inspectors.http import OutgoingRequest
from policyguard.policy.assemble import load_policy
from tests.enforce.kit import ACCOUNT, ADS, COUNTING, EMAIL, FACE, POLICY, Memory, guard

CANARY = "canary.7f3a91@leak-example.org"
NEEDLES = {
    CANARY,
    CANARY.upper(),
    quote(CANARY, safe=""),
    base64.b64encode(CANARY.encode()).decode(),
    CANARY.encode().hex(),
    json.dumps(CANARY)[1:-1].replace("@", "\\u0040"),
    CANARY.partition("@")[0],
}


class Broken:
    """A reporter whose error quotes the canary."""

    def report(self, record: Record) -> None:
        """Raise."""
        raise RuntimeError(CANARY)


@dataclass
class Event:
    """A model that holds the canary."""

    mail: str


def body(value: object) -> OutgoingRequest:
    """A JSON body to the pixel."""
    data = json.dumps(value).encode()
    headers = (("content-type", "application/json"),)
    return OutgoingRequest("POST", "pixel.example", "https", "/tr", headers=headers, body=data)


def url(**parts: Any) -> OutgoingRequest:
    """A request whose outside holds the canary."""
    given: dict[str, Any] = {"path": "/tr", **parts}
    return OutgoingRequest("GET", "pixel.example", "https", **given)


def sent(made: Guard, value: object) -> None:
    """The value as a sink's argument."""

    @made.sink("pixel")
    def track(event: object) -> None:
        """Send."""

    track(value)


def asked(text: str, dialect: str = "postgres", parameters: object = None) -> Any:
    """A statement."""
    return lambda made: made.sql(text, dialect=dialect, parameters=parameters)


def deep() -> object:
    """The canary past every cap."""
    value: object = CANARY
    for _ in range(500):
        value = {CANARY: value}
    return value


def nested(made: Guard, **context: Any) -> None:
    """A denial in a context that holds the canary."""
    with made.context(**context):
        made.check("x", to="pixel", data=EMAIL)


def remembered(made: Guard) -> Any:
    """An opaque labelled value whose repr sings."""

    class Loud:
        def __repr__(self) -> str:
            return CANARY

    made.remember(Loud(), made.label(FACE))
    sent(made, Loud())


class Singing:
    """A subject store that fails with the canary in its mouth."""

    def facts(self, subject: object, /) -> Mapping[str, Any] | None:
        """Raise."""
        raise RuntimeError(CANARY)

    async def afacts(self, subject: object, /) -> Mapping[str, Any] | None:
        """Raise."""
        raise RuntimeError(CANARY)


def transformed(made: Guard) -> None:
    """A reviewed claim about the canary, that has expired."""

    @made.transform("aggregated", reviewed_by="privacy", expires="2020-01-01")
    def shout(mail: str) -> str:
        return mail.upper()

    sent(made, shout(CANARY))


def waived(made: Guard) -> None:
    """A denied flow that passes for a while."""
    waiver = Waiver(Match(recipient="pixel"), "owner", "reason", date.max)
    made.in_force = made.in_force.but(waivers=Waivers([waiver]))
    sent(made, {"mail": CANARY})


def shadowed(made: Guard) -> None:
    """A denied flow that another policy looks at too."""
    other = compile_policy(load_policy(POLICY))
    made.in_force = made.in_force.but(shadow=other)
    sent(made, {"mail": CANARY})


def forgotten(made: Guard) -> None:
    """A person whose store fails."""
    made.subjects = Subjects(Singing())
    nested(made, subject=f"{CANARY}2")


def in_request(made: Guard) -> None:
    """A request whose path, person and region hold the canary."""
    with made.request("GET", f"/{CANARY}", subject=CANARY, region=CANARY, gpc=True):
        made.check("x", to="pixel", data=EMAIL)


def redacted(made: Guard) -> None:
    """A copy without the canary; and then a denial."""
    made.redact({"mail": CANARY, CANARY: [CANARY, Event(CANARY)]}, to="pixel")
    sent(made, CANARY)


PATHS: dict[str, Callable[[Guard], object]] = {
    "argument": lambda made: sent(made, CANARY),
    "dict value": lambda made: sent(made, {"user": {"mail": CANARY}}),
    "dict key": lambda made: sent(made, {CANARY: {"of": CANARY}}),
    "dataclass": lambda made: sent(made, Event(CANARY)),
    "bytes": lambda made: sent(made, CANARY.encode()),
    "JSON text": lambda made: sent(made, json.dumps({CANARY: [CANARY]})),
    "too deep": lambda made: sent(made, deep()),
    "loud object": remembered,
    "check": lambda made: made.check(CANARY, to="pixel"),
    "check, declared": lambda made: made.check(CANARY, to="pixel", data=EMAIL),
    "JSON body": lambda made: made.egress(body({"user": {"mail": CANARY}})),
    "JSON key": lambda made: made.egress(body({CANARY: {CANARY: CANARY}})),
    "JSON in JSON": lambda made: made.egress(body({"x": json.dumps({CANARY: CANARY})})),
    "URL path": lambda made: made.egress(url(path=f"/tr/{quote(CANARY)}/x")),
    "query value": lambda made: made.egress(url(query=f"em={quote(CANARY)}")),
    "query key": lambda made: made.egress(url(query=f"{quote(CANARY)}={quote(CANARY)}")),
    "header value": lambda made: made.egress(url(headers=(("x-user", CANARY),))),
    "header name": lambda made: made.egress(url(headers=((f"x-{CANARY}", CANARY),))),
    "cookie": lambda made: made.egress(url(headers=(("cookie", f"{CANARY}={CANARY}"),))),
    "basic auth": lambda made: made.egress(
        url(headers=(("authorization", f"Basic {base64.b64encode(CANARY.encode()).decode()}"),))
    ),
    "content type": lambda made: made.egress(
        url(body=CANARY.encode(), headers=(("content-type", CANARY),))
    ),
    "unknown coding": lambda made: made.egress(
        url(body=CANARY.encode(), headers=(("content-encoding", CANARY),))
    ),
    "method": lambda made: made.egress(
        OutgoingRequest(CANARY, "pixel.example", "https", "/tr", body=CANARY.encode())
    ),
    "user info": lambda made: made.egress(
        OutgoingRequest("GET", f"{CANARY}@pixel.example", "https", "/tr", body=CANARY.encode())
    ),
    "SQL literal": asked(f"SELECT embedding FROM faces WHERE user_id = '{CANARY}'"),
    "SQL comment": asked(f"SELECT embedding FROM faces -- {CANARY}"),
    "SQL alias": asked(f"SELECT embedding AS x FROM faces WHERE '{CANARY}' = 'x'"),
    "bad SQL": asked(f"SELEC embedding FRM '{CANARY}"),
    "bad SQL, quoted": asked(f"INSERT INTO audience SELECT FROM WHERE '{CANARY}' ("),
    "SQL parameter": asked("INSERT INTO audience VALUES (%s)", parameters=(CANARY,)),
    "SQL literal written": asked(f"INSERT INTO audience VALUES ('{CANARY}')"),
    "SQL export": asked(f"COPY (SELECT email FROM users) TO '/tmp/{CANARY}.csv'"),
    "SQL program": asked(f"COPY users (email) TO PROGRAM 'curl {CANARY}'"),
    "SQL outfile": asked(f"SELECT email FROM users INTO OUTFILE '/tmp/{CANARY}'", "mysql"),
    "SQL unload": asked(f"UNLOAD ('SELECT email FROM users') TO 's3://{CANARY}'", "redshift"),
    "SQL call": asked(f"CALL leak('{CANARY}')"),
    "SQL do": asked(f"DO $$ BEGIN PERFORM '{CANARY}'; END $$"),
    "SQL dialect": asked("SELECT 1", CANARY),
    "subject": lambda made: nested(made, subject=CANARY),
    "fact": lambda made: nested(
        made, facts={"region": CANARY, "age": CANARY, "consent": {CANARY: CANARY}}
    ),
    "named fact": lambda made: nested(made, facts={"facts": {CANARY: True}, CANARY: CANARY}),
    "sealed argument": lambda made: sent(made, {"mail": made.seal(CANARY, EMAIL)}),
    "seal that doesn't open": lambda made: made.open(made.seal(CANARY, EMAIL), to="pixel"),
    "redacted": redacted,
    "expired transform": transformed,
    "waived": waived,
    "shadowed": shadowed,
    "batch": lambda made: nested(made, subjects=[CANARY, "somebody"]),
    "store that fails": forgotten,
    "request": in_request,
    "transport": lambda made: nested(made, facts={"transport": CANARY, "data_age": CANARY}),
}


def everything(
    made: Guard, memory: Memory, errors: list[BaseException], caplog: pytest.LogCaptureFixture
) -> str:
    """All that we say about what happened, in one text."""
    said = [caplog.text, repr(made.tally.read()), repr(current_scope()), repr(made.registry)]
    for record in (*caplog.records, *memory.records):
        said += [repr(record), str(record), repr(getattr(record, "__dict__", ""))]
    for record in memory.records:
        said += [repr(record.decision), json.dumps(record.decision.as_dict())]
        said += [pickle.dumps(record.decision).decode("latin-1")]
    for error in errors:
        said += [str(error), repr(error), repr(error.args), repr(vars(error))]
        said += [pickle.dumps(error).decode("latin-1")]
        said += traceback.format_exception_only(error)
        said += [repr(error.__cause__), repr(error.__context__ or "")]
    return "\n".join(said)


@pytest.mark.parametrize("mode", ["block", "redact", "flag"])
@pytest.mark.parametrize("purpose", [ADS, COUNTING, None])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_no_word_of_ours_holds_the_canary(
    path: Callable[[Guard], object],
    purpose: str | None,
    mode: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Errors, log lines down to DEBUG, records, reprs, pickles, the tally: none of them."""
    caplog.set_level(logging.DEBUG)
    memory = Memory()
    made = guard(mode, Broken(), memory)
    errors: list[BaseException] = []
    with made.context(purpose=purpose, subject=CANARY):
        made.remember({"mail": CANARY}, made.label(EMAIL))
        try:
            path(made)
        except PolicyViolation as violation:
            errors.append(violation)
        said = everything(made, memory, errors, caplog)
    assert memory.records, "nothing was denied, so nothing was tried"
    out, err = capsys.readouterr()
    for needle in NEEDLES:
        assert needle.casefold() not in (said + out + err).casefold()


def test_a_row_value_is_in_no_word(caplog: pytest.LogCaptureFixture) -> None:
    """What a database gave and a payload holds is named by its column."""
    caplog.set_level(logging.DEBUG)
    memory = Memory()
    made = guard("block", memory)
    with made.purpose(ACCOUNT):
        check = made.sql("SELECT email FROM users", dialect="sqlite")
        for labels in check.labels:
            made.remember(CANARY, *labels)
        with pytest.raises(PolicyViolation) as caught:
            made.egress(body({"to": CANARY}))
        said = everything(made, memory, [caught.value], caplog)
    assert "users.email" in said
    assert not [needle for needle in NEEDLES if needle.casefold() in said.casefold()]


class BadPlugin:
    """A plugin whose error quotes the canary."""

    name, api = "bad", 1

    def install(self, made: object) -> Any:
        """Raise."""
        raise RuntimeError(CANARY)


def test_a_plugins_error_is_not_quoted() -> None:
    """Only its kind is told, and it is no cause or context that would be printed."""
    with pytest.raises(PluginError) as caught:
        guard().install(BadPlugin())
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_words_that_code_names_may_be_shown() -> None:
    """A term is no value: who writes a person into a purpose sees it again."""
    with pytest.raises(PolicyGuardError) as caught:
        guard().check("x", to="mailer", data=EMAIL, purpose=CANARY)
    assert CANARY in str(caught.value)
