"""Benchmarks of SQL inspection: new texts, known texts, known templates, the longest texts, peers.

The texts are TPC-DS and TPC-H as sqlglot's source distribution holds them; pip fetches it once into
`build/benchmarks`. The peers pin other versions of sqlglot, so that they run in an environment of
their own there. Start reading at `inspection`.
"""

from __future__ import annotations

import ast
import json
import statistics
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Final

from sqlglot import MappingSchema, exp, parse_one
from sqlglot.optimizer.qualify import qualify

from policyguard.config import Guard
from policyguard.inspectors.sql import Catalog, Statement, inspect
from policyguard.inspectors.sql.guard import MAX_BYTES
from policyguard.inspectors.sql.inspection import _inspected, _templates
from tests.benchmarks.measure import Report, Work, compare
from tests.enforce.kit import ACCOUNT, DATA_MAP, POLICY

HERE = Path(__file__).parent
FOLDER: Final = HERE.parents[1] / "build" / "benchmarks"
DIALECT = "duckdb"
PEERS = ("sqllineage==1.5.9", "acryl-datahub[sql-parser]==1.7.0.17")
SHORT = "SELECT id, email FROM users WHERE id = 4711"
JOINED = (
    "SELECT u.name, o.total, o.placed_at FROM users u JOIN orders o ON o.user_id = u.id "
    "WHERE u.id = {} AND o.total > 100.5 AND o.status IN ('open', 'paid') "
    "ORDER BY o.placed_at DESC LIMIT 20 OFFSET 40"
)
SHOP = Catalog.from_mapping(
    {
        "users": dict.fromkeys(("id", "email", "name", "country", "created_at"), "text"),
        "orders": dict.fromkeys(("id", "user_id", "total", "status", "placed_at"), "text"),
    }
)

# The longest texts of each kind that ever took long: what is repeated, with its ends.
SHAPES: Final = {
    "terms of OR": ("SELECT id FROM users WHERE ", "name = 'someone' OR ", "id = 1"),
    "other terms of AND": ("SELECT id FROM users WHERE ", "id <> country AND ", "id = 1"),
    "members of IN": ("SELECT id FROM users WHERE name IN (", "'someone', ", "'x')"),
    "placeholders of IN": ("SELECT id FROM users WHERE name IN (", "?, ", "?)"),
    "rows of VALUES": ("INSERT INTO users (id, name) VALUES ", "(1, 'someone'), ", "(2, 'x')"),
    "rows with calls": ("INSERT INTO users (id, name) VALUES ", "(1, lower('x')), ", "(2, 'x')"),
    "round brackets": ("SELECT ", "(", "1"),
    "subqueries": ("SELECT * FROM ", "(SELECT * FROM ", "users"),
    "CASE": ("SELECT ", "CASE WHEN id = 1 THEN ", "1 FROM users"),
    "outputs": ("SELECT ", "email, ", "id FROM users"),
    "outputs with calls": ("SELECT ", "lower(email), ", "id FROM users"),
    "additions": ("SELECT ", "id + ", "id FROM users"),
    "concatenations": ("SELECT ", "name || ", "id FROM users"),
    "parts of UNION": ("", "SELECT id FROM users UNION ALL ", "SELECT id FROM users"),
    "joins": ("SELECT 1 FROM users", " CROSS JOIN users", ""),
    "tables": ("SELECT 1 FROM ", "users, ", "users"),
    "arrows": ("SELECT name", "->'a'", " FROM users"),
    "casts": ("SELECT name", "::text", " FROM users"),
    "statements": ("", "SELECT id FROM users; ", "SELECT 1"),
    "one string": ("SELECT '", "x", "' FROM users"),
    "one comment": ("SELECT 1 /*", "x", "*/ FROM users"),
    "signs of NOT": ("SELECT id FROM users WHERE ", "NOT ", "id = 1"),
    "minus signs": ("SELECT ", "- ", "id FROM users"),
    "quotes": ("SELECT ", "''", " FROM users"),
    "white space": ("SELECT 1", " ", " FROM users"),
    "common tables": ("WITH ", "a AS (SELECT 1), ", "b AS (SELECT 1) SELECT 1"),
}

Schema = Mapping[str, Mapping[str, str]]


@cache
def tpc() -> tuple[list[tuple[str, str]], dict[str, Schema]]:
    """The texts of TPC-DS and TPC-H, each with its benchmark's name, and the tables by that name.

    Raises:
        OSError: pip can't fetch them.
    """
    name = f"sqlglot-{version('sqlglot')}"
    archive = FOLDER / f"{name}.tar.gz"
    if not archive.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        asked = [f"sqlglot=={version('sqlglot')}", "--no-deps", "--no-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "-q", *asked, "-d", str(FOLDER)]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            raise OSError("pip can't fetch sqlglot's source distribution")
    texts: list[tuple[str, str]] = []
    tables: dict[str, Schema] = {}
    with tarfile.open(archive) as opened:
        made = {
            ast.unparse(node.targets[0]): node.value
            for node in ast.parse(_member(opened, f"{name}/tests/helpers.py")).body
            if isinstance(node, ast.Assign)
        }
        for part, named in (("tpc-ds", "TPCDS_SCHEMA"), ("tpc-h", "TPCH_SCHEMA")):
            found = _member(opened, f"{name}/tests/fixtures/optimizer/{part}/{part}.sql")
            texts += [(text, part) for text in _queries(found)]
            tables[part] = ast.literal_eval(made[named])
    return texts, tables


def _member(opened: tarfile.TarFile, name: str) -> str:
    found = opened.extractfile(name)
    if found is None:
        raise OSError(f"no {name} in the source distribution")
    return found.read().decode()


def _queries(text: str) -> list[str]:
    """Every second statement: after each query stands what the optimizer makes of it."""
    lines = [line for line in text.splitlines() if not line.startswith(("--", "#"))]
    return [part.strip() for part in "\n".join(lines).split(";")[:-1:2]]


def anew(text: str, catalog: Catalog, dialect: str = DIALECT) -> tuple[Statement, ...]:
    """The answer for a text as if it were the first."""
    _inspected.cache_clear()
    _templates.clear()
    return inspect(text, dialect, catalog)


def inspection(report: Report) -> None:
    """New texts, known ones, known templates, and the longest ones that are let in."""
    try:
        _cold(report)
    except OSError as error:
        report.skipped.append(f"TPC-DS and TPC-H: {error}")
    _warm(report)
    _longest(report)
    _guarded(report)


def _cold(report: Report) -> None:
    texts, tables = tpc()
    catalogs = {part: Catalog.from_mapping(own) for part, own in tables.items()}
    schemas = {part: MappingSchema(dict(own), dialect=DIALECT) for part, own in tables.items()}

    def qualified(text: str, part: str) -> exp.Expr:
        return qualify(parse_one(text, dialect=DIALECT), schema=schemas[part], dialect=DIALECT)

    def asked(text: str, part: str) -> Statement:
        return anew(text, catalogs[part])[-1]

    resolved = [one for one in texts if asked(*one).resolved]
    both = [one for one in resolved if _runs(qualified, *one)]
    taken = compare(
        {
            "sqlglot": Work(lambda: [qualified(*one) for one in both], len(both)),
            "policyguard": Work(lambda: [asked(*one) for one in both], len(both)),
        }
    )
    part, told = "SQL, new texts", f"{len(both)} of {len(texts)} texts of TPC-DS and TPC-H"
    report.add(part, "texts that are resolved", 100 * len(resolved) / len(texts), "%")
    middle = taken["sqlglot"] / 1e6
    report.add(part, "sqlglot's parse and qualify, a text", middle, "ms", note="the yardstick")
    ratio = taken["policyguard"] / taken["sqlglot"]
    report.add(part, "inspection against it", ratio, "x", most=1.6, note=told)


def _runs(call: Callable[[str, str], object], text: str, part: str) -> bool:
    try:
        call(text, part)
    except Exception:  # noqa: BLE001 - whatever a peer raises, it doesn't answer
        # Denies: a text that a candidate can't answer isn't compared.
        return False
    return True


def _repeat(call: Callable[[], object], number: int) -> Work:
    def run() -> None:
        for _ in range(number):
            call()

    return Work(run, number)


def _warm(report: Report) -> None:
    known = {("a", "b", "c"): 1}
    fresh = count(1_000_000)
    inspect(SHORT, "postgres", SHOP)
    parsed = inspect(JOINED.format(5), "postgres", SHOP)
    if not parsed[0].resolved:
        raise AssertionError(parsed[0].why)

    def another() -> object:
        return inspect(JOINED.format(next(fresh)), "postgres", SHOP)

    def look(one: str, two: str, three: str) -> object:
        return known.get((one, two, three))

    taken = compare(
        {
            "look": _repeat(lambda: look("a", "b", "c"), 20_000),
            "known": _repeat(lambda: inspect(SHORT, "postgres", SHOP), 20_000),
            "template": _repeat(another, 200),
            "parsed": _repeat(lambda: anew(JOINED.format(next(fresh)), SHOP, "postgres"), 200),
        }
    )
    part = "SQL, known texts"
    report.add(part, "the same text again", taken["known"] / 1000, "us", most=3)
    ratio = taken["known"] / taken["look"]
    report.add(part, "... against a dict look-up", ratio, "x", most=25)
    note = f"{taken['template'] / 1000:.0f} us, most of it in the tokenizer"
    ratio = taken["template"] / taken["parsed"]
    report.add(part, "the same with other values, against anew", ratio, "x", note=note)


def _longest(report: Report) -> None:
    slowest: dict[str, float] = {}
    for name, (start, piece, end) in SHAPES.items():
        most = (MAX_BYTES - len(start) - len(end)) // len(piece)
        # As long as can be, and as long as what is still let through to the parser.
        for number in (most, 5_000, 2_500):
            text = start + piece * min(number, most) + end
            times = []
            for _ in range(3):
                before = time.process_time()
                anew(text, SHOP, "postgres")
                times.append((time.process_time() - before) * 1000)
            slowest[name] = max(slowest.get(name, 0), min(times))
    worst = max(slowest, key=lambda name: slowest[name])
    note = f"{len(SHAPES)} shapes; the slowest: {worst}"
    report.add("SQL, long texts", "256 KiB of one shape", slowest[worst], "ms", most=250, note=note)
    middle = statistics.median(slowest.values())
    report.add("SQL, long texts", "... the median shape", middle, "ms")


def _guarded(report: Report) -> None:
    guard = Guard.load(POLICY, data_map=DATA_MAP, mode="block")
    plain, labelled = "SELECT id FROM users", "SELECT id, email FROM users WHERE id = ?"
    with guard.purpose(ACCOUNT):
        taken = compare(
            {
                "plain": _repeat(lambda: guard.sql(plain, dialect="postgres"), 5_000),
                "labelled": _repeat(lambda: guard.sql(labelled, dialect="postgres"), 2_000),
            }
        )
    part = "SQL, guarded"
    note = "no label; a known text"
    report.add(part, "guard.sql()", taken["plain"] / 1000, "us", note=note)
    note = "one label, allowed; a known text"
    report.add(part, "guard.sql()", taken["labelled"] / 1000, "us", note=note)


def peers(report: Report) -> None:
    """Column lineage of the texts by others, on those that they answer."""
    try:
        (texts, tables), python = tpc(), _environment()
    except OSError as error:
        report.skipped.append(f"peers of SQL inspection: {error}")
        return
    # Those of one schema, and a third of them: the peers take their time.
    catalog = Catalog.from_mapping(tables["tpc-ds"])
    some = [text for text, part in texts if part == "tpc-ds"][::3]
    for name in ("sqllineage", "datahub"):
        asked = json.dumps(
            {"peer": name, "texts": some, "tables": tables["tpc-ds"], "dialect": DIALECT}
        )
        command = [python, str(HERE / "sql_peers.py")]
        done = subprocess.run(command, input=asked, capture_output=True, check=False, text=True)
        if done.returncode:
            report.skipped.append(f"{name}: exit code {done.returncode}")
            continue
        times: list[float | None] = json.loads(done.stdout)
        theirs = ours = 0.0
        answered = [(text, one) for text, one in zip(some, times, strict=True) if one is not None]
        for text, one in answered:
            theirs += one
            ours += min(_timed(text, catalog) for _ in range(2))
        note = (
            f"{len(answered)} of {len(some)} answered; {theirs / len(answered) / 1e6:.0f} ms each"
        )
        report.add("SQL, peers", f"faster than {name}", theirs / ours, "x", least=3, note=note)


def _timed(text: str, catalog: Catalog) -> float:
    before = time.process_time_ns()
    anew(text, catalog)
    return time.process_time_ns() - before


def _environment() -> str:
    """The Python of an environment that holds the peers; made at the first call."""
    folder = FOLDER / "peers"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", *PEERS],
        ):
            if subprocess.run(command, capture_output=True, check=False).returncode:
                raise OSError("pip can't install them")
        (folder / "ready").touch()
    return str(python)
