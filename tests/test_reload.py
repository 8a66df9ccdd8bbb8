"""Files change while the program runs: the good come into force whole, the bad change nothing.

`POLICYGUARD_RELOADS` sets how often the policy is exchanged under load (default 300) and
`POLICYGUARD_DECISIONS` how many decisions are made meanwhile (default 300,000). Start reading at
`Home`.
"""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from policyguard import PolicyViolation
from policyguard.config import Guard
from policyguard.config.reload import Reloader
from tests.enforce.kit import ACCOUNT, ADS, DATA_MAP, EMAIL, LIKES, POLICY

RELOADS = int(os.environ.get("POLICYGUARD_RELOADS", "300"))
DECISIONS = int(os.environ.get("POLICYGUARD_DECISIONS", "300000"))
TEXT = POLICY.read_text(encoding="utf-8")
# With this rule nobody may mail anybody.
FORBID = "  - id: no-mail\n    forbid: {data: [user.contact], to: [mailer]}\n    cites: ['1']\n"
NO_MAIL = TEXT + FORBID
SOON = 5.0


def allowed(made: Guard) -> bool:
    """Whether an address may go to the mailer."""
    return made.decide(data=EMAIL, to="mailer", purpose=ACCOUNT).allowed


def soon(holds: Callable[[], bool]) -> None:
    """Wait until it holds; how long is the business of no assertion."""
    end = time.monotonic() + SOON
    while not holds() and time.monotonic() < end:
        time.sleep(0.01)
    assert holds()


class Home:
    """A folder with a configuration, and a guard that watches it.

    Attributes:
        policy: the file.
        made: the guard.
    """

    def __init__(self, folder: Path, policy: str = "policy.yaml", text: str = TEXT) -> None:
        self.folder, self.policy = folder, folder / policy
        self.policy.parent.mkdir(exist_ok=True)
        self.policy.write_text(text)
        shutil.copy(DATA_MAP, folder / "map.yaml")
        config = f'policy = "{policy}"\ndata_map = "map.yaml"\nreload = true\nmode = "block"\n'
        (folder / "policyguard.toml").write_text(config)
        self.made = Guard.from_config(folder / "policyguard.toml")

    def rename(self, text: str) -> None:
        """Put another text in the policy's place, whole."""
        aside = self.folder / "aside"
        aside.write_text(text)
        aside.replace(self.policy)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """A guard that watches a folder of its own, and looks often."""
    made = Home(tmp_path)
    yield made
    made.made.close()


def quickly(made: Guard, seconds: float = 0.02) -> Reloader:
    """The guard's reloader, looking more often than in life."""
    reloader = made._reloader
    assert reloader is not None
    reloader.close()
    reloader._seconds = seconds
    reloader.watch()
    return reloader


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said as an error."""
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.ERROR]


# Ways of changing a file.


def in_place(home: Home, text: str) -> None:
    home.policy.write_text(text)


def renamed(home: Home, text: str) -> None:
    home.rename(text)


def through_a_link(home: Home, text: str) -> None:
    target = home.folder / f"version-{time.monotonic_ns()}.yaml"
    target.write_text(text)
    link = home.folder / "link"
    link.symlink_to(target)
    link.replace(home.policy)


def gone_and_back(home: Home, text: str) -> None:
    home.policy.unlink()
    time.sleep(0.1)
    home.policy.write_text(text)


def as_old_as_before(home: Home, text: str) -> None:
    """The times are set back, as `cp -p` and `rsync -t` do."""
    times = home.policy.stat()
    home.policy.write_text(text)
    os.utime(home.policy, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES = [in_place, renamed, through_a_link, gone_and_back, as_old_as_before]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_good_change_is_in_force_soon(home: Home, change: Callable[[Home, str], None]) -> None:
    """However the file is changed, and back again."""
    quickly(home.made)
    for text, wanted in ((NO_MAIL, False), (TEXT, True), (NO_MAIL, False)):
        change(home, text)
        soon(lambda wanted=wanted: allowed(home.made) is wanted)  # type: ignore[misc]  # a lambda's default


def test_a_change_is_in_force_within_a_second(home: Home) -> None:
    """Two looks of the real pace, and the time of the reading, lie within it."""
    reloader = home.made._reloader
    assert reloader is not None
    assert 2 * reloader._seconds <= 0.8
    home.rename(NO_MAIL)
    soon(lambda: not allowed(home.made))


def test_a_mounted_configuration_is_followed(tmp_path: Path, monkeypatch: Any) -> None:
    """ConfigMaps exchange a link `..data` that all files go through; the old folder may stay."""
    monkeypatch.chdir(tmp_path)
    for name, text in (("..1", TEXT), ("..2", NO_MAIL)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.yaml").write_text(text)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "policy.yaml").symlink_to("..data/policy.yaml")
    (tmp_path / "policyguard.toml").write_text('policy = "policy.yaml"\nreload = true\n')
    made = Guard.from_config("policyguard.toml")
    quickly(made)
    assert allowed(made)
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    soon(lambda: not allowed(made))
    made.close()


# What can't be used.

Break = Callable[[Path], object]


def fifo(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def dev_zero(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def loop(file: Path) -> None:
    file.unlink()
    file.symlink_to(file.name)


def sparse(file: Path) -> None:
    file.unlink()
    with file.open("wb") as made:
        made.truncate(8 << 30)


# fmt: off
BROKEN: dict[str, Break] = {
    "half":            lambda file: file.write_text(TEXT[: len(TEXT) // 2 + 7]),
    "empty":           lambda file: file.write_text(""),
    "garbage":         lambda file: file.write_bytes(bytes(range(256)) * 64),
    "another language": lambda file: file.write_text("policyguard: 99\n"),
    "a wrong word":    lambda file: file.write_text(TEXT.replace("permit:", "permits:", 1)),
    "deleted":         lambda file: file.unlink(),
    "a pipe":          fifo,
    "a folder":        folder,
    "/dev/zero":       dev_zero,
    "a link to itself": loop,
    "8 GiB":           sparse,
}
# fmt: on
WHICH = ["policy.yaml", "map.yaml", "policyguard.toml"]


def _remove(file: Path) -> None:
    if file.is_dir():
        file.rmdir()
    else:
        file.unlink(missing_ok=True)


@pytest.mark.parametrize("which", WHICH)
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_bad_change_changes_nothing_and_is_said_once(
    home: Home, caplog: pytest.LogCaptureFixture, broken: Break, which: str
) -> None:
    """The last good stays in force, PG603 is logged once, and what is mended comes into force."""
    if which == "policyguard.toml" and broken is BROKEN["empty"]:
        broken = BROKEN["garbage"]
    reloader = quickly(home.made)
    file = home.folder / which
    good, before = file.read_text(), home.made.in_force
    broken(file)
    soon(lambda: bool(errors(caplog)))
    for _ in range(8):
        reloader.look()
    (said,) = errors(caplog)
    assert said.startswith("PG603 a changed file can't be used; what was in force stays")
    assert home.made.in_force is before
    assert not home.made.reload()
    assert home.made.in_force is before
    _remove(file)
    file.write_text(good)
    home.rename(NO_MAIL)
    soon(lambda: not allowed(home.made))
    assert len(errors(caplog)) <= 4


def test_a_reading_that_failed_for_another_reason_is_tried_again(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Out of memory or of open files: no file changes when that is over."""
    reloader = home.made._reloader
    assert reloader is not None
    reloader.close()
    whole, tries = reloader._read, iter([MemoryError("secret"), OSError("secret"), None])

    def read() -> Any:
        error = next(tries, None)
        if error is not None:
            raise error
        return whole()

    reloader._read = read
    home.rename(NO_MAIL)
    for _ in range(60):
        reloader.look()
    assert not allowed(home.made)
    assert len(errors(caplog)) == 2
    assert "secret" not in caplog.text


def test_a_change_while_files_are_read_is_not_missed(home: Home) -> None:
    """Whatever happens between the reading and the next look is read once more."""
    reloader = home.made._reloader
    assert reloader is not None
    reloader.close()
    whole = reloader._read

    def read() -> Any:
        reloader._read = whole
        found = whole()
        home.rename(NO_MAIL)
        return found

    reloader._read = read
    home.rename(TEXT + "\n# a comment")
    for _ in range(2):
        reloader.look()
    assert allowed(home.made)
    for _ in range(2):
        reloader.look()
    assert not allowed(home.made)


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_change_just_after_the_first_reading_is_not_missed(tmp_path: Path, by_hand: bool) -> None:
    """A file that was written a moment ago is read once more, by whichever way it was loaded."""
    home = Home(tmp_path)
    home.made.close()
    if by_hand:
        home.made = Guard.load(home.policy)
    reloader = home.made._reloader
    assert reloader is not None
    reloader._last = reloader._loaded
    times = home.policy.stat()
    with home.policy.open("r+b") as file:
        file.write(NO_MAIL.encode())
    os.utime(home.policy, ns=(times.st_atime_ns, times.st_mtime_ns))
    for _ in range(2):
        reloader.look()
    assert not allowed(home.made)


def test_a_thousand_changes_in_a_row_are_few_readings(home: Home) -> None:
    """Changes that follow each other closely are read together, and the last one counts."""
    reloader = quickly(home.made)
    read: list[int] = []
    whole = reloader._read

    def counted() -> Any:
        read.append(1)
        return whole()

    reloader._read = counted
    for number in range(1_000):
        home.rename(f"{NO_MAIL if number % 2 else TEXT}\n# {number}")
    soon(lambda: not allowed(home.made))
    assert len(read) < 100


def test_changes_without_end_do_not_keep_the_newest_out_for_ever(home: Home) -> None:
    """A file that is replaced between any two looks is read now and then all the same."""
    reloader = home.made._reloader
    assert reloader is not None
    reloader.close()
    read = 0
    kept = []
    for number in range(20):
        home.rename(f"{NO_MAIL}\n# {number}")
        # Kept open, so that no new file gets the number of an old one.
        kept.append(home.policy.open())
        read += reloader.look()
    for file in kept:
        file.close()
    assert not allowed(home.made)
    assert 2 <= read <= 6


def test_a_file_that_grows_is_not_read_before_it_stands_still(home: Home) -> None:
    """Half a policy might be one: without the forbid at its end."""
    reloader = home.made._reloader
    assert reloader is not None
    reloader.close()
    home.rename(NO_MAIL)
    for _ in range(2):
        reloader.look()
    assert not allowed(home.made)
    with home.policy.open("w") as file:
        for line in NO_MAIL.splitlines(keepends=True):
            file.write(line)
            file.flush()
            assert not reloader.look()
            assert not allowed(home.made)


def test_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reload` reads the files that were named, wherever the program works by now."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "policy.yaml").write_text(TEXT)
    (elsewhere / "policy.yaml").write_text(NO_MAIL)
    monkeypatch.chdir(tmp_path)
    made = Guard.load("policy.yaml")
    monkeypatch.chdir(elsewhere)
    assert made.reload()
    assert allowed(made)
    (tmp_path / "policy.yaml").write_text(NO_MAIL)
    assert made.reload()
    assert not allowed(made)
    (tmp_path / "policy.yaml").unlink()
    assert not made.reload()
    assert not allowed(made)


# Under load.


def _versions(count: int) -> list[tuple[str, bool, bool]]:
    """Texts with the verdicts of two flows: one may be forbidden, one need no consent."""
    found = []
    for number in range(count):
        text = TEXT.replace('version: "1"', f'version: "{number}"')
        mail, ads = number % 2 == 0, number % 3 == 0
        text = text if mail else text + FORBID
        found.append((text.replace("    when: {consent: true}\n", "", ads), mail, ads))
    return found


@pytest.fixture
def turns() -> Iterator[None]:
    """Threads take turns often, so that more meets more."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.001)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.usefixtures("turns")
def test_every_decision_is_that_of_the_version_it_names(tmp_path: Path) -> None:
    """32 threads decide while policies are swapped: no decision mixes two of them."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(TEXT)
    made = Guard.load(policy, data_map=DATA_MAP)
    made.reporters = ()
    wanted: dict[str, tuple[bool, bool]] = {made.snapshot.digest: (True, False)}
    ready = []
    for text, mail, ads in _versions(12):
        policy.write_text(text)
        assert made.reload()
        wanted[made.snapshot.digest] = (mail, ads)
        ready.append(made.in_force)
    assert len(wanted) >= 6
    wrong, each, swaps = [], DECISIONS // 32, 2 * RELOADS / DECISIONS
    decided: Counter[str] = Counter()
    sent = made.sink("mailer", data=EMAIL)(lambda number: number)

    def decide(person: int) -> None:
        rng, mine = random.Random(person), Counter[str]()
        with made.context(purpose=ACCOUNT):
            for turn in range(each // 2):
                # Swapped in the middle of the others, each of which is in the middle of something.
                if rng.random() < swaps:
                    made.swap(rng.choice(ready))
                for place, ask in enumerate(((EMAIL, "mailer", ACCOUNT), (LIKES, "pixel", ADS))):
                    data, to, purpose = ask
                    decision = made.decide(data=data, to=to, purpose=purpose)
                    if decision.allowed is not wanted[decision.digest][place]:
                        wrong.append(decision)
                    mine[decision.digest] += 1
                # Each denied call costs its message.
                if turn % 20:
                    continue
                try:
                    sent(1)
                except PolicyViolation as violation:
                    if wanted[violation.decision.digest][0]:
                        wrong.append(violation.decision)
        decided.update(mine)

    running = [threading.Thread(target=decide, args=(person,)) for person in range(32)]
    for thread in running:
        thread.start()
    for text, _, _ in _versions(4):
        policy.write_text(text)
        assert made.reload()
    for thread in running:
        thread.join()
    assert wrong == []
    assert sum(decided.values()) >= DECISIONS * 0.99
    assert len(decided) >= 7


@pytest.mark.usefixtures("turns")
def test_counts_go_on_exactly_across_reloads(tmp_path: Path) -> None:
    """No allowed flow is lost or counted twice while policies are swapped, by whichever way."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(TEXT)
    made = Guard.load(policy)
    other = Guard.load(policy).in_force
    states = [made.in_force, other, made.in_force.but()]
    sent = made.sink("mailer", data=EMAIL)(lambda number: number)
    stop = threading.Event()
    counted: list[int] = []

    def send() -> None:
        times = 0
        with made.context(purpose=ACCOUNT):
            while times < 3_000 or not stop.is_set():
                sent(1)
                made.check("x", to="mailer", data=EMAIL)
                times += 2
        counted.append(times)

    running = [threading.Thread(target=send) for _ in range(4)]
    for thread in running:
        thread.start()
    for number in range(300):
        made.swap(states[number % 3])
        time.sleep(0.0005)
    stop.set()
    for thread in running:
        thread.join()
    assert sum(made.tally.read().values()) == sum(counted)


def test_reloading_holds_on_to_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """After many reloads no policy of the past is left: one takes more than all that is new."""
    caplog.set_level(logging.CRITICAL, "policyguard")
    policy = tmp_path / "policy.yaml"
    made: Guard | None = None

    def some(times: int) -> None:
        assert made is not None
        for number in range(times):
            policy.write_text(TEXT.replace('version: "1"', f'version: "{number}"'))
            assert made.reload()
            with made.context(purpose=ACCOUNT):
                made.check("x", to="mailer", data=EMAIL)
                made.sql("SELECT email FROM users", dialect="sqlite")

    policy.write_text(TEXT)
    tracemalloc.start()
    try:
        made = Guard.load(policy, data_map=DATA_MAP)
        some(5)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        some(20)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Scopes that closed a moment ago are remembered for two minutes, at some 2 KB each.
    assert after - before < 100_000


# The thread.


def _watchers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "policyguard-reload"]


def test_the_thread_ends_with_close_and_with_the_guard(tmp_path: Path) -> None:
    """Nobody has to close anything; whoever does has no thread left."""
    home = Home(tmp_path)
    quickly(home.made)
    before = len(_watchers())
    assert before >= 1
    home.made.close()
    assert len(_watchers()) == before - 1
    home.made.close()
    home = Home(tmp_path)
    quickly(home.made)
    gone = weakref.ref(home.made)
    del home
    gc.collect()
    assert gone() is None
    soon(lambda: len(_watchers()) == before - 1)


def test_closing_in_the_watching_thread_itself(home: Home) -> None:
    """A log handler that closes the guard on PG603 doesn't wait for itself."""
    quickly(home.made)
    closed: list[bool] = []

    class Closes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            home.made.close()
            closed.append(True)

    handler = Closes(logging.ERROR)
    logging.getLogger("policyguard").addHandler(handler)
    try:
        home.policy.write_text("{")
        soon(lambda: bool(closed))
    finally:
        logging.getLogger("policyguard").removeHandler(handler)
    soon(lambda: not any(one.is_alive() for one in _watchers()))


def _in_child(made: Guard, policy: Path, told: Any) -> None:
    quickly(made)
    policy.write_text(NO_MAIL)
    end = time.monotonic() + SOON
    while allowed(made) and time.monotonic() < end:
        time.sleep(0.01)
    told.send((len(_watchers()), allowed(made)))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_worker_watches_for_itself(home: Home) -> None:
    """After a fork, also one in the middle of a reading, the child has a thread of its own."""
    reloader = quickly(home.made)
    context = multiprocessing.get_context("fork")
    receives, sends = context.Pipe(duplex=False)
    with reloader._lock:
        child = context.Process(target=_in_child, args=(home.made, home.policy, sends))
        child.start()
    assert receives.poll(2 * SOON)
    assert receives.recv() == (1, False)
    child.join(SOON)
    assert child.exitcode == 0
    soon(lambda: not allowed(home.made))


PROGRAM = """
import sys, threading, time
from pathlib import Path
from policyguard.config import Guard
made = Guard.from_config(sys.argv[1])
made._reloader.close()
made._reloader._seconds = 0.001
made._reloader.watch()
policy = Path(sys.argv[1]).parent / "policy.yaml"
text = policy.read_text()
for number in range(6):
    aside = policy.with_name("aside")
    aside.write_text(text + f"\\n# {number}")
    aside.replace(policy)
    time.sleep(0.01 if number < 5 else 0)
time.sleep(float(sys.argv[2]))
print("done")
"""


@pytest.mark.parametrize("wait", ["0", "0.004", "0.02"])
def test_a_program_ends_cleanly_while_it_watches(tmp_path: Path, wait: str) -> None:
    """At the end of the interpreter the thread is given up: no error, no delay, no word."""
    home = Home(tmp_path)
    home.made.close()
    config = str(tmp_path / "policyguard.toml")
    command = [sys.executable, "-W", "error", "-c", PROGRAM, config, wait]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n")
    lines = "\n".join(one for one in done.stderr.splitlines() if "has changed" not in one)
    assert lines == ""
