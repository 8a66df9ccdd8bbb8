"""Statements that wrap another one, told by their first words: the parser knows them only as text.

Layer: inspectors. Start reading at `unwrapped`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from sqlglot.tokenizer_core import Token, TokenType

from policyguard.inspectors.sql.scope import Doubt
from policyguard.inspectors.sql.traits import Traits
from policyguard.inspectors.sql.words import words

Wrap = Literal["plain", "explain", "prepare", "execute", "harmless", "outfile", "unload"]

_STARTS: Final = words("SELECT WITH INSERT UPDATE DELETE MERGE CREATE VALUES FROM TABLE REPLACE (")
_EXPLAIN: Final = words(
    """
    ANALYZE ANALYSE VERBOSE EXTENDED FORMAT TREE JSON TRADITIONAL FORMATTED COST CODEGEN QUERY PLAN
    LOGICAL PHYSICAL AST SYNTAX PIPELINE ESTIMATE USING TEXT TABULAR = DISTRIBUTED TYPE IO
    """
)
_HARMLESS: Final = words("DEALLOCATE CLOSE SAVEPOINT RELEASE")
_UPKEEP_LENGTH: Final = 9
_SESSION: Final = frozenset({("SET", "TIME", "ZONE"), ("SET", "SESSION", "CHARACTERISTICS")})
_SHOWN: Final = words(
    """
    APPLICATION_NAME CLIENT_ENCODING DATESTYLE LOCK_TIMEOUT SEARCH_PATH SERVER_VERSION
    STANDARD_CONFORMING_STRINGS STATEMENT_TIMEOUT TIMEZONE TRANSACTION TRANSACTION_ISOLATION
    WORK_MEM
    """
)
_OUTFILE_OPTIONS: Final = words(
    """
    FIELDS COLUMNS LINES TERMINATED BY OPTIONALLY ENCLOSED ESCAPED STARTING CHARACTER SET CHARSET
    UTF8MB4 UTF8 LATIN1 BINARY
    """
)
_PLAIN_TOKENS: Final = frozenset(
    {
        *(TokenType.STRING, TokenType.NUMBER, TokenType.COMMA, TokenType.DASH, TokenType.NULL),
        *(TokenType.TRUE, TokenType.FALSE, TokenType.PLACEHOLDER, TokenType.PARAMETER),
        *(TokenType.L_PAREN, TokenType.R_PAREN, TokenType.COLON),
    }
)


_CURSOR: Final = words("BINARY ASENSITIVE INSENSITIVE NO SCROLL CURSOR WITH WITHOUT HOLD FOR")
_CURSOR_MARK: Final = "\0cursor "


@dataclass(frozen=True, slots=True)
class Unwrapped:
    """The statement inside another.

    Attributes:
        wrap: what is around it.
        tokens: of the inner statement; empty for `execute` and `harmless`.
        name: of a prepared statement, folded.
        text: for `unload`, the query that stands in a string.
        place: where `unload` writes.
    """

    wrap: Wrap
    tokens: list[Token]
    name: str = ""
    text: str = ""
    place: str = ""


def unwrapped(tokens: list[Token], traits: Traits) -> Unwrapped:
    """Take a statement out of EXPLAIN, PREPARE, UNLOAD or INTO OUTFILE.

    Raises:
        Doubt: a wrapper in a form that isn't understood.
    """
    first = _word(tokens, 0)
    if first == "EXPLAIN":
        return Unwrapped("explain", _replaced(_explained(tokens), traits))
    if first == "PREPARE":
        return _prepared(tokens, traits)
    if first == "EXECUTE" and traits.name in {"postgres", "duckdb", "redshift"}:
        return _executed(tokens, traits)
    if first == "DECLARE" and traits.name in {"postgres", "redshift"}:
        return _declared(tokens, traits)
    if first == "FETCH" and traits.name in {"postgres", "redshift"}:
        return _fetched(tokens, traits)
    if first in _HARMLESS and len(tokens) in {2, 3}:
        return Unwrapped("harmless", [])
    if _is_upkeep(tokens):
        return Unwrapped("harmless", [])
    if first == "SHOW" and traits.name == "postgres" and _word(tokens, 1) in _SHOWN:
        return Unwrapped("harmless", [])
    if first == "UNLOAD":
        return _unloaded(tokens)
    if traits.name == "mysql" and any(token.text.upper() == "OUTFILE" for token in tokens):
        return Unwrapped("outfile", _without_outfile(tokens))
    return Unwrapped("plain", _replaced(tokens, traits))


_RUNS: Final = frozenset({"INSERT", "REPLACE", "UPDATE", "DELETE", "SELECT", "WITH", "MERGE"})


def _is_upkeep(tokens: list[Token]) -> bool:
    """Upkeep and session settings that the parser knows only as commands.

    VACUUM INTO writes a copy of the database, and is none of these.
    """
    said = tuple(_word(tokens, at) for at in range(3))
    if len(tokens) > _UPKEEP_LENGTH or any(_word(tokens, at) == "INTO" for at in range(9)):
        return False
    if any(_word(tokens, at) in _RUNS for at in range(1, len(tokens))):
        # MariaDB's ANALYZE runs the statement behind it.
        return False
    if said in _SESSION or said[0] in {"VACUUM", "ANALYZE"}:
        return not any(token.token_type == TokenType.L_PAREN for token in tokens)
    return False


def _word(tokens: list[Token], index: int) -> str:
    """The word at a place, in capitals; "" for a string or past the end."""
    if index >= len(tokens) or tokens[index].token_type == TokenType.STRING:
        return ""
    return str(tokens[index].text).upper()


def _explained(tokens: list[Token]) -> list[Token]:
    """What EXPLAIN explains: its options are skipped."""
    at = 1
    if _word(tokens, at) == "(" and _word(tokens, at + 1) not in _STARTS:
        while at < len(tokens) and _word(tokens, at) != ")":
            at += 1
        at += 1
    while _word(tokens, at) in _EXPLAIN:
        at += 1
    if _word(tokens, at) not in _STARTS:
        raise Doubt("EXPLAIN of something that isn't understood")
    return tokens[at:]


def _prepared(tokens: list[Token], traits: Traits) -> Unwrapped:
    at = 2
    if _word(tokens, at) == "(":
        while at < len(tokens) and _word(tokens, at) != ")":
            at += 1
        at += 1
    if _word(tokens, at) != "AS" or _word(tokens, at + 1) not in _STARTS:
        raise Doubt("PREPARE in a form that isn't understood")
    return Unwrapped("prepare", _replaced(tokens[at + 1 :], traits), name=_name(tokens, traits))


def _declared(tokens: list[Token], traits: Traits) -> Unwrapped:
    """DECLARE c CURSOR FOR a query: its rows come with FETCH."""
    at = 2
    while _word(tokens, at) in _CURSOR and _word(tokens, at - 1) != "FOR":
        at += 1
    if _word(tokens, at - 1) != "FOR" or _word(tokens, at) not in _STARTS:
        raise Doubt("DECLARE in a form that isn't understood")
    return Unwrapped("prepare", tokens[at:], name=_CURSOR_MARK + _name(tokens, traits))


def _fetched(tokens: list[Token], traits: Traits) -> Unwrapped:
    """FETCH: the cursor's name is its last word."""
    last = tokens[-1]
    if any(token.token_type == TokenType.STRING for token in tokens):
        raise Doubt("FETCH in a form that isn't understood")
    name = traits.folded(last.text, quoted=last.token_type == TokenType.IDENTIFIER)
    return Unwrapped("execute", [], name=_CURSOR_MARK + name)


def _executed(tokens: list[Token], traits: Traits) -> Unwrapped:
    if any(token.token_type not in _PLAIN_TOKENS for token in tokens[2:]):
        raise Doubt("EXECUTE with an argument that isn't a plain value")
    return Unwrapped("execute", [], name=_name(tokens, traits))


def _name(tokens: list[Token], traits: Traits) -> str:
    if not tokens[1:] or tokens[1].token_type == TokenType.STRING:
        raise Doubt("a prepared statement without a name")
    return traits.folded(tokens[1].text, quoted=tokens[1].token_type == TokenType.IDENTIFIER)


def _replaced(tokens: list[Token], traits: Traits) -> list[Token]:
    """REPLACE INTO is an INSERT that deletes what is in its way."""
    if traits.name not in {"mysql", "sqlite"} or _word(tokens, 0) != "REPLACE":
        return tokens
    old = tokens[0]
    new = Token(TokenType.INSERT, "INSERT", old.line, old.col, old.start, old.end)
    rest = tokens[1:]
    while rest and _word(rest, 0) in {"LOW_PRIORITY", "DELAYED"}:
        rest = rest[1:]
    return [new, *rest]


def _without_outfile(tokens: list[Token]) -> list[Token]:
    """The query without INTO OUTFILE and its options."""
    for at, token in enumerate(tokens):
        if token.text.upper() != "OUTFILE" or token.token_type == TokenType.STRING:
            continue
        end = at + 2
        if _word(tokens, at - 1) != "INTO" or tokens[end - 1].token_type != TokenType.STRING:
            break
        while end < len(tokens) and (
            _word(tokens, end) in _OUTFILE_OPTIONS or tokens[end].token_type == TokenType.STRING
        ):
            end += 1
        return [*tokens[: at - 1], *tokens[end:]]
    raise Doubt("INTO OUTFILE in a form that isn't understood")


def _unloaded(tokens: list[Token]) -> Unwrapped:
    """Redshift's UNLOAD ('query') TO 'place': the query is code in a string."""
    if (
        not tokens[5:]
        or [_word(tokens, at) for at in (1, 3, 4)] != ["(", ")", "TO"]
        or tokens[2].token_type != TokenType.STRING
        or tokens[5].token_type != TokenType.STRING
    ):
        raise Doubt("UNLOAD in a form that isn't understood")
    return Unwrapped("unload", [], text=tokens[2].text, place=tokens[5].text)
