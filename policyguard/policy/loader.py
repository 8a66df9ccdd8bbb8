"""The YAML front door: bytes to a plain tree that remembers its places. The only importer of YAML.

Layer: policy. Works on the C parser's events with a builder of its own, because composing first and
checking later is too late: the C composer dies by SIGSEGV on deep nesting, aliases explode, and
places are lost. Scalars stay text; the models decide what a text means. Start at `read_document`.
"""

from __future__ import annotations

import gc
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import yaml
from yaml._yaml import CParser  # the C parser, without the composer behind it

from policyguard.errors import Problem
from policyguard.policy.terms import Ambiguous

Tree = Any
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps that hold before anything is composed.

    Attributes:
        size: bytes of a file.
        depth: nested mappings and sequences.
        nodes: scalars, mappings and sequences together.
    """

    size: int = 1 << 20
    depth: int = 32
    nodes: int = 50_000


LIMITS: Final = Limits()

_AMBIGUOUS: Final = frozenset(
    word
    for base in ("yes", "no", "on", "off", "true", "false", "y", "n")
    for word in (base, base.capitalize(), base.upper())
)
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_AMBIGUOUS_FIRST: Final = frozenset("yYnNoOtTfF0123456789~")
_DATE: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([Tt ].*)?")
# C0 and C1 controls, the characters that reorder text on a screen, and those that end a line for
# YAML and not for an editor: what follows a comment would count, and look like the comment.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"
)
_LONE_RETURN: Final = re.compile(r"\r(?!\n)")
_LINE_ENDS: Final = "\r\x85\u2028\u2029"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")
_LONGEST_NAME: Final = 4_096
_NO_KEY: Final = object()
_IN_LIST: Final = object()


class Document:
    """A file's tree and the place of each of its nodes.

    Attributes:
        file: the name to show.
        tree: dicts, lists, text and None; None if nothing could be built.
        problems: what was wrong with the file as YAML.
    """

    __slots__ = ("_marks", "_steps", "file", "problems", "tree")

    def __init__(self, file: str) -> None:
        self.file = printable(file, _LONGEST_NAME)  # a name may hold a line break, or no text
        self.tree: Tree = None
        self.problems: list[Problem] = []
        # id of a container -> marks: of a list one per item, of a dict two per key (key, value).
        # The tree outlives the table, so an id is never reused.
        self._marks: dict[int, list[Any]] = {}
        # id of a mapping -> the number of each of its keys, once a place in it was asked for.
        self._steps: dict[int, dict[Any, int]] = {}

    def place(self, path: Sequence[str | int], *, of_key: bool = False) -> Place:
        """Line and column (1-based) of the node at `path`, or of the nearest one above.

        Steps that the tree doesn't have are passed over: a validator's path names more than the
        file holds. Cost: O(steps), and once O(keys) for each mapping on the way.
        """
        node, mark = self.tree, None
        for step in path:
            marks = self._marks.get(id(node))
            if isinstance(node, dict) and step in node and marks is not None:
                numbers = self._steps.get(id(node))
                if numbers is None:
                    numbers = self._steps[id(node)] = {key: n for n, key in enumerate(node)}
                mark = marks[2 * numbers[step] + (0 if of_key else 1)]
                node = node[step]
            elif isinstance(node, list) and isinstance(step, int) and 0 <= step < len(node):
                mark = marks[step] if marks is not None else None
                node = node[step]
        return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)

    def item_places(self, section: str) -> list[Place]:
        """The places of the items of a top-level list, in order; cheaper than one by one."""
        items = self.tree.get(section)
        marks = self._marks.get(id(items)) if isinstance(items, list) else None
        return [(mark.line + 1, mark.column + 1) for mark in marks or ()]

    def problem(
        self, code: str, message: str, path: Sequence[str | int], hint: str = ""
    ) -> Problem:
        """A problem at the node at `path`."""
        line, col = self.place(path)
        return Problem(self.file, line, col, code, message, hint)


def read_document(path: Path, *, name: str = "", limits: Limits = LIMITS) -> Document:
    """Read one YAML file into a tree with places.

    Args:
        path: a regular file; anything else (a pipe, a device, a folder) is refused unread.
        name: the file's name in problems; by default the path as given.
        limits: caps, all checked before composing.

    Returns:
        A Document; `problems` lists everything wrong with it as YAML, `tree` is None if the text
        could not be parsed to its end.

    Cost: O(bytes); 10,000 rules of one line cost about a sixth of PyYAML's CSafeLoader.
    """
    name = name or str(path)
    document = Document(name)
    try:
        data = read_regular(path, limits)
    except (OSError, ValueError) as error:
        # Denies: a file that can't be read is no policy.
        why = error.strerror if isinstance(error, OSError) else str(error)
        message = f"can't read the file: {str(why or 'unknown cause').lower()}"
        document.problems.append(Problem(document.file, 0, 0, "PG001", message))
        return document
    return _parse(data, document, limits)


def read_text(text: str | bytes, *, name: str, limits: Limits = LIMITS) -> Document:
    """Read YAML text that is already in memory; as `read_document`."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    document = Document(name)
    if len(data) > limits.size:
        document.problems.append(_too_big(document.file, limits))
        return document
    return _parse(data, document, limits)


def read_trusted(text: str) -> dict[str, Any]:
    """Read a mapping that ships with the package; raises ValueError if it is broken."""
    document = read_text(text, name="shipped data", limits=Limits(1 << 24, 32, 1_000_000))
    if document.problems or not isinstance(document.tree, dict):
        raise ValueError("shipped data can't be read")
    return document.tree


def read_regular(path: Path, limits: Limits) -> bytes:
    """The bytes of a regular file; raises OSError, or ValueError with a sentence of ours."""
    # Non-blocking, so that a named pipe can't hang the load; refused just below.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > limits.size:
            raise ValueError(f"larger than {limits.size} bytes")
        data = file.read(limits.size + 1)
    if len(data) > limits.size:
        raise ValueError(f"larger than {limits.size} bytes")
    return data


def _too_big(name: str, limits: Limits) -> Problem:
    return Problem(name, 0, 0, "PG001", f"can't read the file: larger than {limits.size} bytes")


def _parse(data: bytes, document: Document, limits: Limits) -> Document:
    text = _decode(data, document)
    if text is None:
        return document
    try:
        with collector_paused():
            _Builder(document, limits).build(text)
    except _TooMuch as cap:
        # Denies: past a cap nothing of the file is used.
        document.tree = None
        document.problems.append(Problem(document.file, cap.line, cap.col, "PG004", cap.what))
    except yaml.MarkedYAMLError as error:
        # Denies: text that isn't YAML to its end is no policy.
        document.tree = None
        mark = error.problem_mark or error.context_mark
        line, col = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message, hint = f"not valid YAML: {error.problem or error.context}", ""
        if "that cannot start any token" in message and text.split("\n")[line - 1][col - 1] == "\t":
            message, hint = "not valid YAML: a tab can't indent", "use spaces"
        document.problems.append(Problem(document.file, line, col, "PG003", message, hint))
    except yaml.YAMLError:
        # Denies: as above; this one has no place.
        document.tree = None
        document.problems.append(Problem(document.file, 0, 0, "PG003", "not valid YAML"))
    return document


@contextmanager
def collector_paused() -> Iterator[None]:
    """Without the cyclic collector: making many objects that all stay makes it most of the cost."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            if not gc.get_freeze_count():
                # Straight to the oldest generation: else the next young collection walks them all.
                # A host that froze objects of its own keeps them frozen.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


def _decode(data: bytes, document: Document) -> str | None:
    if data.startswith(_UTF16):
        hint = "save it as UTF-8"
        document.problems.append(Problem(document.file, 1, 1, "PG002", "the file is UTF-16", hint))
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Denies: bytes that aren't UTF-8 could read as anything.
        before = data[: error.start]
        line, col = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        problem = Problem(document.file, line, col, "PG002", "not UTF-8 text", "save it as UTF-8")
        document.problems.append(problem)
        return None
    if found := _strange(text):
        at = found.start()
        line, col = text.count("\n", 0, at) + 1, at - (text.rfind("\n", 0, at) + 1) + 1
        message = f"character U+{ord(found.group()):04X} is not allowed"
        hint = "end each line with a line feed" if found.group() in _LINE_ENDS else ""
        document.problems.append(Problem(document.file, line, col, "PG002", message, hint))
        return None
    return text


def _strange(text: str) -> re.Match[str] | None:
    """The first character that no file may hold."""
    found = _CONTROL.search(text)
    lone = _LONE_RETURN.search(text) if "\r" in text else None
    if found is None or lone is None:
        return found or lone
    return min(found, lone, key=re.Match.start)


class _TooMuch(Exception):  # noqa: N818 - a signal between two functions of this module
    def __init__(self, what: str, mark: Any) -> None:
        super().__init__(what)
        self.what, self.line, self.col = what, mark.line + 1, mark.column + 1


def _plain(value: str) -> str | None:
    """An unquoted scalar: nothing, a text that other readers take for something else, or text."""
    if value in _NULL:
        return None
    return Ambiguous(value) if value in _AMBIGUOUS or _DATE.fullmatch(value) else value


class _Builder:
    """Events to a tree. Iterative: depth is a number here, never a Python frame."""

    __slots__ = ("_document", "_documents", "_limits", "_over", "_problems")

    def __init__(self, document: Document, limits: Limits) -> None:
        self._document, self._limits = document, limits
        self._problems = document.problems
        self._documents, self._over = 0, False

    def build(self, text: str) -> None:  # noqa: PLR0915 - one loop: a call a node would double its cost
        """Fill the document. One pass; what is frequent stands first and calls nothing."""
        get: Callable[[], Any] = CParser(text).get_event
        scalar_event = yaml.ScalarEvent
        starts = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
        ends = (yaml.MappingEndEvent, yaml.SequenceEndEvent)
        table = self._document._marks  # noqa: SLF001 - the builder fills the document
        most, nodes = self._limits.nodes, 0
        root: list[Any] = []
        stack: list[tuple[Any, list[Any], Any]] = []
        # The container being filled, the marks of its parts, the key that waits for its value.
        box, key = cast("Any", root), cast("Any", _IN_LIST)
        marks: list[Any] = []
        while True:
            event = get()
            kind = type(event)
            if kind is scalar_event:
                value = event.value
                style = event.style
                if not style:
                    if not value or value[0] in _AMBIGUOUS_FIRST:
                        value = _plain(value)
                elif style == '"' and _strange(value):
                    self._say("PG002", "control characters are not allowed", event)
                if event.tag is not None or event.anchor is not None:
                    self._refuse_mark(event)
            elif kind in starts:
                if event.tag is not None or event.anchor is not None:
                    self._refuse_mark(event)
                value = {} if kind is starts[0] else []
            elif kind in ends:
                box, marks, key = stack.pop()
                continue
            elif self._rare(kind, event):
                value = None
            elif self._over:
                break
            else:
                continue
            nodes += 1
            mark = event.start_mark
            if nodes > most:
                raise _TooMuch(f"more than {most} nodes", mark)
            if key is _IN_LIST:
                box.append(value)
                marks.append(mark)
            elif key is _NO_KEY:
                plain = type(value) is str and value not in box and value != "<<"
                key = value if plain else self._key(value, event, box)
                marks.append(mark)
            else:
                if key is None:
                    marks.pop()  # a refused key: its value is read on, and dropped
                else:
                    box[key] = value
                    marks.append(mark)
                key = _NO_KEY
            if kind is not scalar_event and value is not None:
                self._deeper(stack, event)
                stack.append((box, marks, key))
                marks = table[id(value)] = []
                box, key = value, _NO_KEY if kind is starts[0] else _IN_LIST
        self._document.tree = root[0] if root else None

    def _rare(self, kind: type, event: Any) -> bool:
        """What is neither a scalar nor a container; whether it stands for a value."""
        if kind is yaml.AliasEvent:
            self._say("PG005", "aliases (`*name`) are not allowed", event, "write it out")
            return True
        if kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                self._say("PG006", "a second document is not allowed", event, "one file, one")
                self._over = True
        elif event is None or kind is yaml.StreamEndEvent:
            self._over = True
        return False

    def _deeper(self, stack: list[Any], event: Any) -> None:
        if len(stack) >= self._limits.depth:
            what = f"nested deeper than {self._limits.depth} levels"
            raise _TooMuch(what, event.start_mark)

    def _key(self, value: Any, event: Any, box: dict[str, Any]) -> str | None:
        """The key, or None if it is refused: then its value is dropped."""
        if not isinstance(value, str):
            self._say("PG003", "a key must be text", event, "put it in quotes")
            return None
        if value == "<<" and not event.style:
            self._say("PG005", "merge keys (`<<`) are not allowed", event, "write it out")
            return None
        if value in box:
            self._say("PG007", f"key `{printable(value)}` is written twice", event)
            return None
        return value

    def _refuse_mark(self, event: Any) -> None:
        if event.anchor is not None:
            self._say("PG005", "anchors (`&name`) are not allowed", event, "write it out")
        if event.tag is not None:
            self._say("PG005", "tags (`!name`) are not allowed", event, "remove it")

    def _say(self, code: str, message: str, event: Any, hint: str = "") -> None:
        mark = event.start_mark
        self._problems.append(
            Problem(self._document.file, mark.line + 1, mark.column + 1, code, message, hint)
        )


def printable(text: str, most: int = 80) -> str:
    """Text of a file as it may stand in a message: on one line, escaped, and short."""
    shown = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[: most + 1])
    return shown[:most] + "..." if len(shown) > most else shown
