"""What everyday code does to a value: one line each, to be done to a seal."""

from __future__ import annotations

import ast
import base64
import bisect
import configparser
import copy
import copyreg
import csv
import ctypes
import dataclasses
import datetime as dt
import decimal
import email.message
import enum
import fractions
import functools
import gettext
import hashlib
import hmac
import html
import inspect
import io
import json
import locale
import logging
import marshal
import math
import multiprocessing.reduction
import operator
import os
import pathlib
import pickle
import pprint
import re
import reprlib
import shlex
import sqlite3
import statistics
import string
import struct
import subprocess
import sys
import textwrap
import traceback
import types
import unicodedata
import urllib.parse
import urllib.request
import uuid
import warnings
import weakref
import xml.etree.ElementTree as ET
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs
import httpx
import numpy as np
import pydantic
import pydantic_core
import sqlalchemy as sa
import yaml

URL = "http://a.example"
Operation = Callable[[Any], object]


@dataclasses.dataclass
class Held:
    """A dataclass around anything."""

    it: Any


@attrs.define
class Kept:
    """The same of attrs."""

    it: Any


class Pair(NamedTuple):
    """The same as a tuple."""

    it: Any


class Answer(pydantic.BaseModel):
    """The same of pydantic."""

    it: Any


def logged(write: Callable[[logging.Logger], None]) -> str:
    """What a logger writes."""
    stream = io.StringIO()
    logger = logging.Logger("sealed")  # noqa: LOG001 -- nobody else's, and gone at the end
    logger.addHandler(logging.StreamHandler(stream))
    write(logger)
    return stream.getvalue()


def warned(message: Any) -> list[str]:
    """What a warning says."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn(message, stacklevel=1)
    return [str(one.message) for one in caught]


def locals_shown(it: Any) -> str:
    """A traceback that shows the locals of every frame from here."""
    try:
        return str(it / 2)
    except TypeError as error:
        shown = traceback.TracebackException.from_exception(error, capture_locals=True)
        return re.sub("0x[0-9a-f]+", "", "".join(shown.format()))


def matched(it: Any) -> str:
    """Structural matching."""
    match it:
        case str() | bytes() | int() | [*_] | {}:
            return "opened"
        case _:
            return "sealed"


def printed(it: Any) -> str:
    """What print writes."""
    stream = io.StringIO()
    print(it, [it], file=stream)
    return stream.getvalue()


def bound(it: Any) -> object:
    """A parameter of SQLite."""
    connection = sqlite3.connect(":memory:")
    try:
        return connection.execute("select ?", (it,)).fetchall()
    finally:
        connection.close()


def compiled(it: Any) -> str:
    """A statement of SQLAlchemy with its literals."""
    return str(sa.select(sa.literal(it, sa.String)).compile(compile_kwargs={"literal_binds": True}))


def written(it: Any) -> str:
    """A line of CSV."""
    stream = io.StringIO()
    csv.writer(stream).writerow([it, it])
    return stream.getvalue()


def every_attribute(it: Any) -> object:
    """All that can be read by name, guessed names of slots too."""
    names = [*dir(it), *type(it).__slots__, "value", "__wrapped__", "_Sealed__value", "__dict__"]
    return [str(got) for n in names if not callable(got := getattr(it, n, None))]


def element(it: Any) -> bytes:
    """XML with the value as text."""
    node = ET.Element("a")
    node.text = it
    return ET.tostring(node)


def configured(it: Any) -> None:
    """An option of a configuration file."""
    parser = configparser.ConfigParser()
    parser["a"] = {"b": it}


def header(it: Any) -> str:
    """A header of an e-mail."""
    message = email.message.EmailMessage()
    message["To"] = it
    return str(message)


# fmt: off
OPERATIONS: dict[str, Operation] = {
    # text
    "str":                 str,
    "repr":                repr,
    "ascii":               ascii,
    "format":              format,
    "format, width":       lambda it: f"{it:>60}",
    "format, number":      lambda it: f"{it:.3f}",
    "f-string":            lambda it: f"{it} {it!s} {it!r} {it!a}",
    "f-string, cut":       lambda it: f"{it:.5}",
    "f-string =":          lambda it: f"{it=}",
    "%s":                  lambda it: "%s %r" % (it, it),  # noqa: UP031 -- the operation
    "%d":                  lambda it: "%d" % it,  # noqa: UP031 -- the operation
    "%(x)s":               lambda it: "%(x)s" % it,  # noqa: UP031 -- the operation
    "b%s":                 lambda it: b"%s" % it,
    ".format":             lambda it: "{} {!r}".format(it, it),  # noqa: UP032 -- the operation
    ".format, attribute":  "{0.data} {0.value}".format,
    ".format, item":       "{[0]}".format,
    "Template":            lambda it: string.Template("$it").substitute(it=it),
    "join":                lambda it: ", ".join([it]),  # noqa: FLY002 -- the operation
    "join itself":         ", ".join,
    "text +":              lambda it: "a" + it,
    "+ text":              lambda it: it + "a",
    "*":                   lambda it: it * 2,
    "2 *":                 lambda it: 2 * it,
    "%":                   lambda it: it % 2,
    "in text":             lambda it: it in "text",
    "text in it":          lambda it: "text" in it,
    "replace":             lambda it: "text".replace("t", it),
    "startswith":          "text".startswith,
    "compare texts":       lambda it: it == "ada@example.org",
    "upper":               lambda it: it.upper(),
    "encode":              lambda it: it.encode(),
    "str of bytes":        lambda it: str(it, "utf-8"),
    "slice":               lambda it: it[1:3],
    "textwrap":            textwrap.fill,
    "normalize":           lambda it: unicodedata.normalize("NFC", it),
    "html.escape":         html.escape,
    "capwords":            string.capwords,
    "gettext":             gettext.gettext,
    "collation":           locale.strxfrm,
    "regex":               lambda it: re.search("a", it),
    "regex as pattern":    re.compile,
    "regex replacement":   lambda it: re.sub("a", it, "banana"),
    "print":               printed,
    "pprint":              lambda it: pprint.pformat({"a": [it]}),
    "reprlib":             reprlib.repr,
    # numbers and truth
    "int":                 int,
    "float":               float,
    "complex":             complex,
    "bool":                bool,
    "not":                 operator.not_,
    "and":                 lambda it: it and 1,
    "any":                 lambda it: any([it]),
    "filter":              lambda it: list(filter(None, [it])),
    "len":                 len,
    "length_hint":         operator.length_hint,
    "index":               operator.index,
    "round":               round,
    "abs":                 abs,
    "neg":                 operator.neg,
    "floor":               math.floor,
    "sqrt":                math.sqrt,
    "sum":                 lambda it: sum([it]),
    "mean":                lambda it: statistics.mean([it]),
    "divmod":              lambda it: divmod(it, 2),
    "rdivmod":             lambda it: divmod(2, it),
    "pow":                 lambda it: pow(it, 2),
    "or":                  lambda it: it | {},
    "range":               range,
    "hex":                 hex,
    "Decimal":             decimal.Decimal,
    "Fraction":            fractions.Fraction,
    # order and equality
    "sorted":              lambda it: sorted([it, it]),
    "max":                 lambda it: max(it, "a"),
    "<":                   lambda it: it < "a",
    ">=":                  lambda it: it >= 1,
    "bisect":              lambda it: bisect.bisect(["a", "b"], it),
    "== itself":           lambda it: (it == it, it != it),  # noqa: PLR0124 -- the operation
    "hash by identity":    lambda it: hash(it) == object.__hash__(it),
    "set and dict":        lambda it: ({it, it} == {it}, {it: 1}[it], [1, it].index(it)),
    "match":               matched,
    "lru_cache":           functools.lru_cache(str),
    "isinstance":          lambda it: isinstance(it, str | bytes | int | float | dict | list),
    # items
    "iter":                iter,
    "list":                list,
    "unpack":              lambda it: [*it],
    "arguments":           lambda it: print(*it),  # noqa: T201 -- the operation
    "keywords":            lambda it: dict(**it),
    "dict":                dict,
    "first":               lambda it: it[0],
    "item":                lambda it: it["a"],
    "assign an item":      lambda it: operator.setitem(it, 0, 1),
    "reversed":            reversed,
    "next":                next,
    "zip":                 lambda it: list(zip(it, [1], strict=False)),
    "map":                 lambda it: list(map(str, it)),
    # attributes
    "vars":                vars,
    "dir":                 dir,
    "every attribute":     every_attribute,
    "members":             lambda it: [str(m) for n, m in inspect.getmembers(it) if n[0] != "_"],
    "object's getattr":    lambda it: object.__getattribute__(it, "_value"),
    "class's dict":        lambda it: sorted(type(it).__dict__),
    "set an attribute":    lambda it: setattr(it, "data", "system"),
    "delete an attribute": lambda it: delattr(it, "data"),
    "weakref":             lambda it: weakref.ref(it)() is it,
    "SimpleNamespace":     lambda it: repr(types.SimpleNamespace(it=it)),
    "call":                lambda it: it(),
    # bytes and encodings
    "bytes":               bytes,
    "bytearray":           bytearray,
    "memoryview":          memoryview,
    "base64":              base64.b64encode,
    "sha256":              hashlib.sha256,
    "hmac":                lambda it: hmac.new(b"k", it, "sha256"),
    "hmac compare":        lambda it: hmac.compare_digest(it, "a"),
    "zlib":                zlib.compress,
    "struct":              lambda it: struct.pack("d", it),
    "ctypes":              ctypes.c_char_p,
    "BytesIO":             io.BytesIO,
    "StringIO":            io.StringIO,
    "quote":               urllib.parse.quote,
    "quote_plus":          urllib.parse.quote_plus,
    "urlencode":           lambda it: urllib.parse.urlencode({"a": it}),
    "urlencode, doseq":    lambda it: urllib.parse.urlencode({"a": it}, doseq=True),
    "urljoin":             lambda it: urllib.parse.urljoin("https://a.example", it),
    "urlsplit":            urllib.parse.urlsplit,
    "uuid":                uuid.UUID,
    "date":                dt.date.fromisoformat,
    "enum":                lambda it: str(enum.Enum("E", {"a": it}, module=__name__)),
    # copies and serialisers
    "copy":                lambda it: copy.copy(it) is it,
    "deepcopy":            lambda it: copy.deepcopy([it])[0] is it,
    "dataclass replace":   lambda it: dataclasses.replace(Held(it), it=it),
    "asdict":              lambda it: dataclasses.asdict(Held([it])),
    "astuple":             lambda it: dataclasses.astuple(Held(it)),
    "attrs.asdict":        lambda it: attrs.asdict(Kept({"a": it})),
    "namedtuple":          lambda it: (Pair(it), Pair(it)._asdict()),
    "json":                json.dumps,
    "json, inside":        lambda it: json.dumps({"a": [it]}),
    "json, key":           lambda it: json.dumps({it: 1}),
    "json, default=str":   lambda it: json.dumps({"a": it}, default=str),
    "json, default=vars":  lambda it: json.dumps({"a": it}, default=vars),
    "json, default=list":  lambda it: json.dumps({"a": it}, default=list),
    "json.loads":          json.loads,
    "pickle 0":            lambda it: pickle.dumps(it, 0),
    "pickle 2":            lambda it: pickle.dumps([it], 2),
    "pickle":              lambda it: pickle.dumps(Held(it)),
    "multiprocessing":     multiprocessing.reduction.ForkingPickler.dumps,
    "copyreg":             lambda it: copyreg._reduce_ex(it, 1),  # type: ignore[attr-defined]  # not in the stubs
    "object's reduce":     lambda it: object.__reduce_ex__(it, 2),
    "getstate":            lambda it: it.__getstate__(),
    "made without init":   lambda it: repr(object.__new__(type(it))),
    "marshal":             marshal.dumps,
    "yaml":                yaml.dump,
    "yaml, safe":          yaml.safe_dump,
    "literal_eval":        ast.literal_eval,
    "eval":                eval,
    "csv":                 written,
    "xml":                 element,
    "configparser":        configured,
    "pydantic Any":        lambda it: repr(Answer(it=it)),
    "pydantic dump":       lambda it: Answer(it=it).model_dump(),
    "pydantic json":       lambda it: Answer(it=it).model_dump_json(),
    "pydantic as str":     pydantic.TypeAdapter(str).validate_python,
    "pydantic as list":    pydantic.TypeAdapter(list[int]).validate_python,
    "pydantic to_json":    pydantic_core.to_json,
    "pydantic, fallback":  lambda it: pydantic_core.to_json({"a": it}, fallback=str),
    # the outside
    "logging":             lambda it: logged(lambda log: log.warning("it is %s", it)),
    "logging, message":    lambda it: logged(lambda log: log.warning(it)),
    "logging, extra":      lambda it: logged(lambda log: log.error({"a": it}, extra={"it": it})),
    "warning":             warned,
    "traceback, locals":   locals_shown,
    "exception":           lambda it: str(ValueError(it)) + repr(KeyError(it)),
    "sqlite":              bound,
    "SQLAlchemy literal":  compiled,
    "SQLAlchemy bind":     lambda it: str(sa.select(sa.literal(it, sa.String))),
    "os.environ":          lambda it: operator.setitem(os.environ, "SEALED", it),
    "subprocess":          lambda it: subprocess.run([sys.executable, it], check=True),
    "subprocess, stdin":   lambda it: subprocess.list2cmdline(["a", it]),
    "shlex":               shlex.quote,
    "fspath":              os.fspath,
    "Path":                pathlib.Path,
    "open":                open,
    "email header":        header,
    "urllib data":         lambda it: urllib.request.Request(URL, it).data is it,
    "httpx json":          lambda it: httpx.Request("POST", URL, json={"a": it}),
    "httpx form":          lambda it: httpx.Request("POST", URL, data={"a": it}).read(),
    "httpx query":         lambda it: str(httpx.Request("GET", URL, params={"a": it}).url),
    "httpx header":        lambda it: httpx.Headers({"a": it}),
    # arrays
    "numpy":               lambda it: repr(np.array([it, it], dtype=object)),
    "numpy, guessed type": lambda it: repr(np.array([it, 1])),
    "numpy, alone":        lambda it: repr(np.array(it)),
    "numpy, text":         lambda it: np.array([it], dtype=str).tolist(),
    "numpy, float":        lambda it: np.array([it], dtype=float),
    "numpy, sort":         lambda it: np.sort(np.array([it, it], dtype=object)),
    "numpy, add":          lambda it: np.array([it], dtype=object) + 1,
    "numpy, saved":        lambda it: np.save(io.BytesIO(), np.array([it], dtype=object)),
}
# fmt: on
