"""What is denied leaves a value as a constant placeholder; what can't be looked into doesn't."""

from __future__ import annotations

import base64
import gzip
import json
import sys
from array import array
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Any, NamedTuple, TypedDict

import numpy as np
import pydantic
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from policyguard import Category, TermError
from policyguard.enforce.redact_request import redacted_request
from policyguard.enforce.redaction import Redaction, redacted_value
from policyguard.inspectors.http import OutgoingRequest
from policyguard.labels.registry import Found, Registry
from policyguard.labels.sealed import Sealed
from policyguard.labels.typed import REDACTED
from policyguard.policy.flow import Label
from tests.enforce.kit import ADDRESS, EMAIL, FACE

LABEL = Label(EMAIL, source="users.email", evidence="column")
VECTOR = [((number * 7919) % 1009) / 1009 for number in range(128)]
PICTURE = bytes(range(256)) * 3


def registry() -> Registry:
    """One in which an address, a vector and a picture are remembered."""
    made = Registry(b"key")
    made.remember(ADDRESS, (LABEL,))
    made.remember(VECTOR, (Label(FACE, source="faces.embedding"),))
    made.remember(491701234567, (Label("user.contact.phone_number", source="users.phone"),))
    made.remember(PICTURE, (Label("user.content", source="pictures.data"),))
    made.remember("blue whale quarterly", (Label("user.behavior", source="users.likes"),))
    return made


def denied(label: Label) -> bool:
    """Behaviour may go, nothing else."""
    return label.data != "user.behavior"


def redacted(value: object, hint: object = None) -> Redaction:
    """The value as it may leave."""
    return redacted_value(value, registry(), denied, hint=hint)


class Colour(Enum):
    """An enumeration that holds an address."""

    RED = ADDRESS
    BLUE = "blue"


class Point(NamedTuple):
    """A named tuple."""

    name: str
    x: int


R, B = REDACTED, REDACTED.encode()
TEXT = f"to {ADDRESS}, soon"
B64 = base64.b64encode(TEXT.encode()).decode()
SPELT = {f"e{place}": value for place, value in enumerate(VECTOR)}
VALUES: dict[str, tuple[object, object]] = {
    "text": (ADDRESS, R),
    "a longer text": (TEXT, R),
    "bytes": (ADDRESS.encode(), B),
    "bytes that hold JSON": (json.dumps({"m": ADDRESS}).encode(), B),
    "compressed bytes": (gzip.compress(ADDRESS.encode()), B),
    "a picture": (PICTURE, B),
    "a bytearray": (bytearray(ADDRESS.encode()), B),
    "a memoryview": (memoryview(ADDRESS.encode()), B),
    "encoded": ({"d": B64}, {"d": R}),
    "JSON in a text": ({"d": json.dumps({"m": ADDRESS})}, {"d": R}),
    "a dict": ({"a": 1, "m": ADDRESS, "n": None}, {"a": 1, "m": R, "n": None}),
    "nested": ({"a": [{"b": (ADDRESS, 2)}]}, {"a": [{"b": (R, 2)}]}),
    "a key": ({ADDRESS: 1, "n": 2}, {R: 1, "n": 2}),
    "a key in bytes": ({ADDRESS.encode(): 1}, {B: 1}),
    "a key that is a tuple": ({(ADDRESS, 2): 1}, {R: 1}),
    "two keys": ({ADDRESS: 1, ADDRESS.upper(): 2}, {R: 2}),
    "a list": ([1, ADDRESS, True], [1, R, True]),
    "a set": ({ADDRESS, "b"}, {R, "b"}),
    "a frozen set": (frozenset({ADDRESS, 3}), frozenset({R, 3})),
    "a deque": (deque([ADDRESS, 3], maxlen=9), deque([R, 3])),
    "a named tuple": (Point(ADDRESS, 3), Point(R, 3)),
    "an ordered dict": (OrderedDict(m=ADDRESS, n=1), {"m": R, "n": 1}),
    "a counter": (Counter([ADDRESS, "b"]), {R: 1, "b": 1}),
    "an enumeration": ([Colour.RED, Colour.BLUE], [R, Colour.BLUE]),
    "a vector": ({"f": VECTOR, "n": 1}, {"f": R, "n": 1}),
    "a vector as a tuple": (tuple(VECTOR), R),
    "a number": ([491701234567, 1], [R, 1]),
    "a part of a vector": ([VECTOR[:64], 1], [R, 1]),
    "an array": ({"f": array("d", VECTOR)}, {"f": R}),
    "numpy": ({"f": np.array(VECTOR, dtype=np.float32)}, {"f": R}),
    "numpy, rows": ([np.array([VECTOR, VECTOR[::-1]]), 1], [R, 1]),
    "packed": ({"f": array("f", VECTOR).tobytes()}, {"f": B}),
    "a vector spelt out": ({"v": SPELT, "n": 1}, {"v": R, "n": 1}),
    "a vector of texts": ({"v": [str(v) for v in VECTOR], "n": 1}, {"v": R, "n": 1}),
}  # fmt: skip


@pytest.mark.parametrize(("value", "wanted"), VALUES.values(), ids=VALUES)
def test_every_denied_part_becomes_the_placeholder(value: object, wanted: object) -> None:
    """Keys and values, in whatever container: the rest stays, and a second time changes nothing."""
    before = repr(value)
    made = redacted(value)
    assert made == Redaction(wanted, complete=True)
    assert type(made.value) is type(wanted)
    assert repr(value) == before
    assert redacted(made.value) == made


KEPT: dict[str, object] = {
    "nothing": None,
    "a number": 3.5,
    "a text": "somebody@else.example",
    "another vector": [float(number % 7) for number in range(128)],
    "allowed data": {"likes": "blue whale quarterly"},
    "containers": {"a": [1, {"b": {2}}], "c": deque([Point("p", 1)])},
    "numpy": np.arange(3),
    "an enumeration": Colour.BLUE,
}


@pytest.mark.parametrize("value", KEPT.values(), ids=KEPT)
def test_what_may_go_is_the_same_object(value: object) -> None:
    """Nothing is copied, and nothing of its type is lost."""
    made = redacted(value)
    assert made.complete
    assert made.value is value


def test_parts_without_anything_denied_are_shared() -> None:
    """Only the containers on the way to a denied part are new."""
    rest = {"x": [1, 2]}
    made = redacted({"m": ADDRESS, "rest": rest}).value
    assert made["rest"] is rest  # type: ignore[index]  # it is a dict


@dataclass(frozen=True)
class Order:
    """A dataclass with an annotated field."""

    mail: Annotated[str, Category("user.contact.email")]
    count: int
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Nothing that is made by hand passes."""
        if "@" not in self.mail:
            raise ValueError


@dataclass(slots=True)
class Slotted:
    """A dataclass without a dict."""

    mail: str
    count: int


class Model(pydantic.BaseModel):
    """A model whose validation no placeholder passes."""

    model_config = pydantic.ConfigDict(extra="allow", frozen=True)
    mail: Annotated[str, Category("user.contact.email"), pydantic.Field(min_length=20)]
    born: Annotated[int, Category("user.demographic.date_of_birth")] = 1
    note: str = ""
    _hidden: str = pydantic.PrivateAttr(default="")


class Customer(TypedDict):
    """A dict whose keys are annotated."""

    mail: Annotated[str, Category("user.contact.email")]
    count: int


class Plain:
    """An annotated class of no library."""

    mail: Annotated[str, Category("user.contact.email")]

    def __init__(self) -> None:
        self.mail = "other@mail.example"
        self.rest = 1


def test_annotated_fields_are_redacted_by_their_category() -> None:
    """Whatever they hold, without their constructor, and the original stays."""
    order = Order("other@mail.example", 2, ["x"])
    made = redacted([order])
    copy: Any = made.value[0]  # type: ignore[index]  # it is a list
    assert made.complete
    assert (type(copy), copy.mail, copy.count, copy.notes) == (Order, R, 2, ["x"])
    assert order == Order("other@mail.example", 2, ["x"])


def test_a_remembered_value_in_an_object_is_redacted() -> None:
    """Also in a slot, and in a field without an annotation."""
    assert redacted(Slotted(ADDRESS, 2)) == Redaction(Slotted(R, 2), complete=True)
    copy: Any = redacted(Order("other@mail.example", 2, [ADDRESS])).value
    assert copy.notes == [R]


def test_a_model_is_copied_without_validation() -> None:
    """Annotated, extra and private fields; a field of another type takes the placeholder too."""
    model = Model(mail="somebody.else@mail.example", born=1990, extra=ADDRESS)  # type: ignore[call-arg]  # extra is allowed
    model._hidden = ADDRESS
    made = redacted(model)
    copy: Any = made.value
    assert made.complete
    assert (type(copy), copy.mail, copy.born, copy.extra, copy.note) == (Model, R, R, R, "")
    assert copy._hidden == R
    assert (model.born, model._hidden) == (1990, ADDRESS)


def test_a_dict_is_redacted_by_its_annotation() -> None:
    """Where an annotation is known, a TypedDict's keys count, also inside a list."""
    customer = {"mail": "other@mail.example", "count": 1}
    assert redacted([customer], list[Customer]).value == [{"mail": R, "count": 1}]
    hint = list[Annotated[str, Category("user.contact.email")]]
    assert redacted(["other@mail.example"], hint) == Redaction(R, complete=True)


def test_a_field_that_holds_nothing_stays() -> None:
    """Nothing carries no label; a flag does."""
    copy: Any = redacted(Model.model_construct(mail=None, born=True)).value
    assert (copy.mail, copy.born) == (None, R)


def test_a_denied_seal_is_replaced_and_an_allowed_one_stays_shut() -> None:
    """A seal is known by its label."""
    shut = Sealed("x", "user.behavior")
    made = redacted({"a": Sealed("other@mail.example", EMAIL), "b": shut})
    assert made == Redaction({"a": R, "b": shut}, complete=True)


def test_an_annotated_object_of_no_library() -> None:
    """Redacted where nothing is remembered; else nobody knows what it holds beside."""
    made = redacted_value(Plain(), Registry(), denied)
    copy: Any = made.value
    assert (made.complete, copy.mail, copy.rest) == (True, R, 1)
    assert redacted(Plain()) == Redaction(R, complete=False)


def test_a_cycle_ends_in_the_placeholder() -> None:
    """A container that holds itself is finite afterwards, and complete."""
    loop: dict[str, Any] = {"m": ADDRESS}
    loop["again"] = [loop]
    assert redacted(loop) == Redaction({"m": R, "again": [R]}, complete=True)
    assert loop["again"][0] is loop


def test_a_value_that_stands_twice_is_no_cycle() -> None:
    """Both places are redacted, to the same copy."""
    inner = [ADDRESS]
    made: Any = redacted([inner, inner]).value
    assert made == [[R], [R]]
    assert made[0] is made[1]


@pytest.mark.parametrize(("depth", "complete"), [(198, True), (260, False), (100_000, False)])
def test_nesting_is_followed_to_two_hundred(depth: int, complete: bool) -> None:
    """What lies deeper doesn't leave."""
    value: object = [ADDRESS]
    for _ in range(depth):
        value = [value]
    made = redacted(value)
    assert made.complete is complete
    left = made.value
    while type(left) is list and left:
        left = left[0]
    assert left == R


def test_a_value_that_branches_without_end_is_not_followed() -> None:
    """Sharing is followed once; a search of all of it ends at its cap."""
    value: object = [ADDRESS]
    for _ in range(60):
        value = [value, value]
    assert not redacted(value).complete


class Client:
    """Nothing anybody can look into."""


class Hostile(dict[str, object]):
    """A container whose methods lie."""

    def __iter__(self) -> Any:
        raise AssertionError

    def items(self) -> Any:
        raise AssertionError

    def __eq__(self, _: object) -> bool:
        raise AssertionError

    __hash__ = None


def test_what_cannot_be_looked_into_does_not_leave() -> None:
    """The placeholder stands there, and the copy isn't complete."""
    made = redacted({"c": Client(), "f": print, "n": 1})
    assert made == Redaction({"c": R, "f": R, "n": 1}, complete=False)
    anything = np.array([ADDRESS, 1], dtype=object)
    assert redacted([anything, 1]) == Redaction([R, 1], complete=False)
    deep = "[" * 300 + "]" * 300
    assert redacted([deep.encode(), 1]) == Redaction([R, 1], complete=False)


def test_a_row_of_a_database_leaves_whole_or_not_at_all() -> None:
    """Rows and mapped entities can't be made by hand: a denied one is replaced, not complete."""

    class Base(orm.DeclarativeBase):
        """Of the entities below."""

    class User(Base):
        """An entity."""

        __tablename__ = "users"
        id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
        mail: orm.Mapped[str]

    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        session.add_all([User(id=1, mail=ADDRESS), User(id=2, mail="x")])
        session.flush()
        rows = session.execute(sa.select(User.id, User.mail)).all()
        users = session.scalars(sa.select(User)).all()
        assert redacted(rows) == Redaction([R, rows[1]], complete=False)
        made: Any = redacted(users)
        assert (made.complete, made.value) == (False, [R, users[1]])
        assert redacted(users[1]).value is users[1]
        assert users[0].mail == ADDRESS
    engine.dispose()


def test_where_nothing_was_seen_an_object_may_hold_nothing() -> None:
    """Nothing remembered: nothing could be inside."""
    client = Client()
    assert redacted_value({"c": client}, Registry(), denied) == Redaction(
        {"c": client}, complete=True
    )


def test_no_method_of_the_application_is_called() -> None:
    """A subclass is read as what it is stored as."""
    made = redacted([Hostile(m=ADDRESS)])
    assert made.complete
    assert made.value == [{"m": R}]


def test_a_full_registry_proves_nothing() -> None:
    """What couldn't be remembered can't be found."""
    full = Registry(max_values=1)
    full.remember([ADDRESS, "quillfeather blackbird"], (LABEL,))
    assert redacted_value({"m": "x"}, full, denied).complete is False
    none = Registry(max_values=0)
    none.remember(ADDRESS, (LABEL,))
    assert redacted_value({"m": "x"}, none, denied).complete is False


def test_a_judgement_that_fails_redacts_everything() -> None:
    """Whatever goes wrong, nothing leaves, and the error is not passed on."""

    def broken(label: Label) -> bool:
        raise RuntimeError(label.source)

    assert redacted_value({"m": ADDRESS}, registry(), broken) == Redaction(R, complete=False)


def test_a_category_that_cannot_be_read_is_the_programs_error() -> None:
    """It is told, for no policy can say anything about such a field."""

    class Broken:
        mail: Annotated[str, Category("user.contact.email"), "Missing"]

    Broken.__annotations__["mail"] = 'Annotated[Missing, Category("user.contact.email")]'
    with pytest.raises(TermError):
        redacted_value([Broken()], Registry(), denied)


def test_a_slot_that_was_never_set_stays_so() -> None:
    """A copy has what the original has, no more."""
    half = Slotted.__new__(Slotted)
    half.mail = ADDRESS
    copy: Any = redacted(half).value
    assert copy.mail == R
    assert not hasattr(copy, "count")


def test_a_stack_that_is_nearly_full_redacts_everything() -> None:
    """Where there is no room left to look, nothing leaves."""
    value: object = ADDRESS
    for _ in range(150):
        value = [value]

    def deep(left: int) -> Redaction:
        return redacted(value) if not left else deep(left - 1)

    room = sys.getrecursionlimit()
    frame, used = sys._getframe(), 0
    while frame is not None:
        frame, used = frame.f_back, used + 1  # type: ignore[assignment]  # the outermost has none
    assert deep(room - used - 120) == Redaction(R, complete=False)


def test_where_a_copy_cannot_be_made_nothing_leaves() -> None:
    """A class that no instance can be made of by hand."""

    @dataclass
    class Odd(Exception):  # noqa: N818 - no error, a class with a constructor of its own
        mail: str

    assert redacted([Odd(ADDRESS)]) == Redaction([R], complete=False)


def test_a_value_that_is_the_placeholder_itself_is_still_found() -> None:
    """Somebody's value may read like it: then nothing proves that it is gone."""
    odd = Registry()
    odd.remember("[redacted]", (LABEL,))
    assert redacted_value({"m": "[redacted]"}, odd, denied).complete is False


def test_no_value_stands_in_a_repr() -> None:
    """A result shows whether it is complete."""
    assert repr(redacted({"m": "canary"})) == "Redaction(complete=True)"


class Counting(Registry):
    """A registry that says how many leaves it was asked about."""

    asked = 0

    def search(self, leaves: Iterable[tuple[str, object]]) -> tuple[Found, ...]:
        """As it is, counted."""
        kept = tuple(leaves)
        self.asked += len(kept)
        return super().search(kept)


def nested(depth: int, inner: object, **beside: object) -> object:
    """A dict in a dict, so deep; each level may hold more."""
    for _ in range(depth):
        inner = {"a": inner, **beside}
    return inner


LONG = [{"t": f"word{place} lorem", "n": place} for place in range(1000)]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (nested(150, {"f": LONG, "v": SPELT}), nested(150, {"f": LONG, "v": R})),
        ({"x": nested(150, LONG), "v": SPELT}, {"x": nested(150, LONG), "v": R}),
        (nested(150, {"v": SPELT}, n=1), nested(150, {"v": R}, n=1)),
    ],
)
def test_a_vector_in_the_depth_costs_no_more_than_one_at_the_top(
    value: object, wanted: object
) -> None:
    """Containers are searched again only where they add numbers: a few searches of the whole."""
    known = Counting(b"key")
    known.remember(VECTOR, (Label(FACE),))
    assert redacted_value(value, known, denied) == Redaction(wanted, complete=True)
    assert known.asked < 10 * (4 * len(LONG) + 500)
    body = json.dumps(value).encode()
    head = (("content-type", "application/json"),)
    sent = OutgoingRequest("POST", "x.example", "https", "/", headers=head, body=body)
    known.asked = 0
    made = redacted_request(sent, known, denied)
    assert made is not None
    assert made.body == json.dumps(wanted).encode()
    assert known.asked < 12 * (4 * len(LONG) + 500)


def test_the_work_for_one_value_ends() -> None:
    """A value that is made to be searched at every depth isn't sent."""
    value = {"x": nested(150, LONG, n=1, m=2), "v": SPELT}
    known = Counting(b"key")
    known.remember(VECTOR, (Label(FACE),))
    assert not redacted_value(value, known, denied).complete
    assert known.asked < 30 * (4 * len(LONG) + 1000)
    head = (("content-type", "application/json"),)
    body = json.dumps(value).encode()
    sent = OutgoingRequest("POST", "x.example", "https", "/", headers=head, body=body)
    known.asked = 0
    assert redacted_request(sent, known, denied) is None
    assert known.asked < 30 * (4 * len(LONG) + 1000)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ([{"v": x} for x in VECTOR], R),
        ({"k": 1, "l": [{"v": str(x)} for x in VECTOR]}, {"k": 1, "l": R}),
        ({"k": 1, "l": [f'{{"v": {x}}}' for x in VECTOR]}, {"k": 1, "l": R}),
        ([{**SPELT, "n": 1}, {"e1": 2, "e2": 3}], [R, {"e1": 2, "e2": 3}]),
        ({"l": [SPELT], "rest": [{"n": n} for n in range(30)]}, None),
    ],
)
def test_the_smallest_container_that_is_denied_is_replaced(value: object, wanted: object) -> None:
    """A vector that is spelt out, over one dict or over many; a value and JSON alike."""
    if wanted is None:
        wanted = {"l": [R], "rest": [{"n": n} for n in range(30)]}
    assert redacted(value) == Redaction(wanted, complete=True)
    head = (("content-type", "application/json"),)
    body = json.dumps(value).encode()
    sent = OutgoingRequest("POST", "x.example", "https", "/", headers=head, body=body)
    made = redacted_request(sent, registry(), denied)
    assert made is not None
    assert json.loads(made.body or b"") == wanted


def test_many_short_values_are_searched_together() -> None:
    """However many there are, and however many of them are denied."""
    known = registry()
    known.remember([f"person{n:03}@mail.example" for n in range(100)], (LABEL,))
    value = [f"person{n:03}@mail.example" if n % 3 else f"word {n}" for n in range(100)]
    made = redacted_value(value, known, denied)
    assert made == Redaction([R if n % 3 else f"word {n}" for n in range(100)], complete=True)
