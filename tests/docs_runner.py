r"""Run every fenced block of one document, in order, in an empty folder.

Start reading at `PARSERS`. `python tests/docs_runner.py README.md` runs one document;
`--rewrite` writes what the commands really printed into it, to be reviewed as a diff.

What happens to a block is decided by its language:

- python: executed; the blocks of one document share a namespace.
- yaml, toml, json, jsonl: loaded as the file that they are. A caption (`:caption: policy.yaml`, or
  `<!-- file: policy.yaml -->` on the line above) writes the file for the blocks that follow.
  A file named `broken*` is only written.
- console: each `$ command` is run and its output compared; `...` stands for anything. A command
  that exits with something else than 0 must be followed by `$ echo $?`.
  What the text tells the reader to change by hand is done by a comment on the line above:
  `<!-- edit: policy.yaml: old => new -->`, with `\n` for a line break; several, one a line.
- text: only read. Any other language is an error, so that no block goes unexecuted by accident.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sybil import Document, Example, Region

from policyguard.errors import PolicyGuardError
from policyguard.policy.assemble import load_policy
from policyguard.policy.casefile import load_cases
from policyguard.policy.datamap import load_data_map

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
BASE = ROOT / "tests" / "docs_base.yaml"
EDIT = re.compile(r"<!-- edit: (?P<file>\S+): (?P<old>.+?) => (?P<new>.*?) -->")
FENCE = re.compile(
    r"(?:^<!-- file: (?P<file>\S+) -->\n)?"
    r"(?P<edits>(?:^<!-- edit: [^\n]+ -->\n)*)"
    r"^(?P<indent> *)(?P<ticks>`{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)(?P=ticks) *$",
    re.MULTILINE | re.DOTALL,
)
DIRECTIVE = re.compile(r"\{(?P<name>[a-z-]+)\} *(?P<argument>.*)")
READ_ONLY = {"text", "{toctree}", "{note}", "{warning}", "{tip}", "{literalinclude}", "{include}"}
POLICY_KEYS = {
    "policyguard", "id", "title", "version", "notice", "taxonomy", "terms", "named_only",
    "recipients", "rules", "retention", "obligations", "at_least", "purpose_changes", "extends",
}  # fmt: skip
DATA_MAP_KEYS = {"tables", "derived", "fields"}


@dataclass
class Block:
    """One fenced block.

    Attributes:
        language: the word behind the fence, or a directive's name in braces.
        file: the name the block is written to, or "".
        text: the body, without indentation and options.
        body_start, body_end: where the body stands in the document.
        edits: file, old and new text of what the reader was told to change before it.
    """

    language: str
    file: str
    text: str
    body_start: int
    body_end: int
    edits: tuple[tuple[str, str, str], ...] = ()


@dataclass
class Session:
    """What the blocks of one document share beside their namespace."""

    rewrite: bool
    status: int = 0
    edits: list[tuple[int, int, str]] = field(default_factory=list)


def blocks(document: Document) -> Iterator[Region]:
    """Yield every fenced block as a region of Sybil's."""
    for match in FENCE.finditer(document.text):
        block = _read(match)
        evaluator = None if block.language in READ_ONLY else evaluate
        yield Region(match.start(), match.end(), block, evaluator)


def _read(match: re.Match[str]) -> Block:
    language, file = match["info"].strip(), match["file"] or ""
    start, lines = match.start("body"), match["body"].splitlines(keepends=True)
    directive = DIRECTIVE.fullmatch(language)
    if directive and directive["name"] == "code-block":
        language = directive["argument"].strip()
        while lines and re.match(r" *(:[a-z-]+:|$)", lines[0].rstrip("\n")):
            option = lines.pop(0)
            start += len(option)
            caption = re.match(r" *:caption: *(\S+)", option)
            file = caption[1] if caption else file
    elif directive:
        language = f"{{{directive['name']}}}"
    indent = len(match["indent"])
    text = "".join(line[indent:] if line.strip() else line for line in lines)
    edits = tuple(
        (edit["file"], edit["old"].replace("\\n", "\n"), edit["new"].replace("\\n", "\n"))
        for edit in EDIT.finditer(match["edits"])
    )
    return Block(language, file, text, start, match.end("body"), edits)


PARSERS = (blocks,)


def evaluate(example: Example) -> str | None:
    """Run one block; the answer is what is wrong with it, or None."""
    block: Block = example.parsed
    for name, old, new in block.edits:
        text = Path(name).read_text(encoding="utf-8")
        if text.count(old) != 1:
            return f"`{old}` stands {text.count(old)} times in {name}, so nobody can change it"
        Path(name).write_text(text.replace(old, new), encoding="utf-8")
    if block.file:
        path = Path(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
        if path.name.startswith("broken"):
            return None  # the command after it shows what is wrong with it
    runner = RUNNERS.get(block.language)
    if runner is None:
        return f"nothing executes a block of language `{block.language}`"
    return runner(example, block)


def run_python(example: Example, block: Block) -> str | None:
    """Execute the block in the document's namespace, with the document's line numbers."""
    if block.file:
        compile(block.text, block.file, "exec")  # a console block runs it
        return None
    line = example.document.text.count("\n", 0, block.body_start)
    code = compile("\n" * line + block.text, example.path, "exec", dont_inherit=True)
    exec(code, example.namespace)  # to execute it is what this runner is for
    return None


LOADERS: dict[str, Callable[[Path], object]] = {
    "policy": load_policy,
    "data map": load_data_map,
    "truth table": load_cases,
}


def run_yaml(_example: Example, block: Block) -> str | None:
    """Load the block as the kind of file that its keys say it is."""
    keys = set(re.findall(r"^([a-z_]+):", block.text, re.MULTILINE))
    if keys == {"cases"} or re.search(r"\A(#.*\n|\n)*- ", block.text):
        return _load("truth table", block.text, block.file)
    if keys and keys <= DATA_MAP_KEYS:
        return _load("data map", block.text, block.file)
    if keys and keys <= POLICY_KEYS:
        whole = "policyguard" in keys
        return _load("policy", block.text if whole else _completed(block.text, keys), block.file)
    return f"neither policy, data map nor cases: {sorted(keys)}"


def _load(kind: str, text: str, file: str) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (Path(file).name if file else "fragment.yaml")
        path.write_text(text, encoding="utf-8")
        try:
            LOADERS[kind](path)
        except PolicyGuardError as error:
            return f"{kind} can't be loaded:\n{error}"
    return None


def _completed(fragment: str, keys: set[str]) -> str:
    """The fragment with the parts of the base policy that it doesn't say itself."""
    sections = re.split(r"^(?=[a-z_]+:)", BASE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    kept = [part for part in sections if part.split(":", 1)[0] not in keys]
    return "".join(kept) + "\n" + fragment


def run_toml(_example: Example, block: Block) -> str | None:
    """Parse the block; as configuration it is read by the command that the text runs on it."""
    tomllib.loads(block.text)
    return None


def run_json(_example: Example, block: Block) -> str | None:
    """Parse the block: one document, or one a line."""
    lines = block.text.splitlines() if block.language == "jsonl" else [block.text]
    for line in lines:
        json.loads(line)
    return None


def run_console(example: Example, block: Block) -> str | None:
    """Run the commands of the block and compare what they print."""
    session: Session = example.namespace["__session__"]
    commands = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    if commands[0].strip():
        return "a console block starts with `$ command`"
    written: list[str] = []
    for index, part in enumerate(commands[1:]):
        command, _, expected = part.partition("\n")
        asked = index + 2 < len(commands) and commands[index + 2].startswith("echo $?")
        actual = run_command(command, session)
        written.append(f"$ {command}\n{_lasting(actual)}")
        if session.status and not asked and not command.startswith("echo"):
            return f"`{command}` exits with {session.status}:\n{actual}"
        if not session.rewrite and not matches(expected, actual):
            return f"`{command}` prints\n{actual}\ninstead of\n{expected}"
        # A lone `...` stands for an output that nobody has written down yet.
        if session.rewrite and expected.strip() != "..." and matches(expected, actual):
            written[-1] = f"$ {part}"
    if session.rewrite:
        session.edits.append((block.body_start, block.body_end, "".join(written)))
    return None


def run_command(command: str, session: Session) -> str:
    """Run one command in the document's folder; set the session's status; return its output."""
    words = shlex.split(command)
    folder = Path.cwd()
    if words[0] == "echo":
        return f"{session.status}\n"
    if words[:2] == ["pip", "install"]:
        session.status = check_requirements(words[2:])
        return ""
    if words[0] == "make":
        # A target is checked, not run: these tests are themselves run by `make test`.
        words, folder = ["make", "--dry-run", *words[1:]], ROOT
    elif words[0] == "python":
        words[0] = sys.executable
    elif words[0] == "policyguard":
        words[:1] = [sys.executable, "-m", "policyguard"]
    else:
        raise ValueError(f"a document may not run `{words[0]}`")
    environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        words,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    session.status = done.returncode
    if words[0] == "make" and not done.returncode:
        return ""
    return done.stdout + done.stderr


def check_requirements(words: list[str]) -> int:
    """0 where `pip install WORDS` names folders or this distribution, with extras that it has."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for word in words:
        if word.startswith("."):
            if not (ROOT / word / "pyproject.toml").is_file():
                return 1
            continue
        match = re.fullmatch(r"([a-z-]+)(?:\[([a-z,]+)\])?", word)
        extras = set((match[2] or "").split(",")) - {""} if match else {"?"}
        if not match or match[1] != project["name"]:
            return 1
        if extras - set(project["optional-dependencies"]):
            return 1
    return 0


def matches(expected: str, actual: str) -> bool:
    """Whether the output is the expected one, `...` standing for anything."""
    parts = [re.escape(part) for part in _tidy(expected).split("...")]
    return re.fullmatch(".*?".join(parts), _tidy(actual), re.DOTALL) is not None


def _lasting(output: str) -> str:
    """The output with `...` where it differs between machines or tells a reader nothing."""
    output = output.replace(f"{Path.cwd()}{os.sep}", "...")
    return re.sub(r"\b[0-9a-f]{16,64}\b", "...", output)


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


RUNNERS = {
    "python": run_python,
    "yaml": run_yaml,
    "toml": run_toml,
    "json": run_json,
    "jsonl": run_json,
    "console": run_console,
}


def run_document(path: Path, *, rewrite: bool = False) -> list[str]:
    """Run all blocks of a document in an empty folder.

    Returns:
        What is wrong, a line of the document and a sentence each.
    """
    document = Document.parse(str(path), *PARSERS)
    session = document.namespace["__session__"] = Session(rewrite)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        before = Path.cwd()
        os.chdir(folder)
        try:
            for example in document.examples():
                try:
                    example.evaluate()
                except Exception as error:  # noqa: BLE001 - whatever a block raises is its failure
                    wrong.append(f"{path.name}:{example.line}: {type(error).__name__}: {error}")
        finally:
            os.chdir(before)
    if session.edits:
        text = document.text
        for start, end, new in sorted(session.edits, reverse=True):
            text = text[:start] + new + text[end:]
        path.write_text(text, encoding="utf-8")
    return wrong


def main(arguments: list[str]) -> int:
    """Run the documents that are named; 1 where something in them isn't so."""
    rewrite = "--rewrite" in arguments
    wrong = []
    for name in arguments:
        if name != "--rewrite":
            wrong += run_document(Path(name).resolve(), rewrite=rewrite)
    for line in wrong:
        sys.stderr.write(line + "\n\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
