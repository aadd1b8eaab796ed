"""The ledger on full, read-only and failing disks, beside other processes, and damaged."""

import contextlib
import os
import random
import resource
import signal
import socket
import sqlite3
import struct
import tempfile
from pathlib import Path

import pytest
from ledgers import (
    BUDGET,
    METHOD,
    Reward,
    contents,
    goes_on,
    held,
    in_a_child,
    interrupt,
    key_of,
    kill,
    killed,
    stopped,
    target,
    written,
)

import elites as el
from elites import ledger as module
from elites.account import Entry
from elites.ledger import Ledger, StoreError, read
from elites.salvage import repair, rows

LONG = el.Budget(steps=30)


def test_a_full_disk_is_one_sentence_and_loses_nothing_that_was_written(tmp_path):
    def fill():
        t.account.book._db.execute("PRAGMA max_page_count = 2")

    folder, first = tmp_path / "run", Reward(5, fill, each=True)
    t = target(first.reward)
    with pytest.raises(StoreError, match=r"^Cannot write .*: the disk is full; free space and resume: .*\.$"):
        el.run(METHOD, t, LONG, 7, on=[el.Checkpoint(folder)])
    assert 5 < first.answered.total() - 1 <= held(folder).total()  # the last of them may have found no room
    goes_on(folder, LONG)


def test_a_limit_on_the_size_of_files_is_one_sentence_and_loses_nothing_that_was_written(tmp_path):
    folder, said = tmp_path / "run", tmp_path / "said"

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    def run():
        try:
            el.run(METHOD, target(Reward(5, limit, each=True).reward), BUDGET, 7, on=[el.Checkpoint(folder)])
        except StoreError as error:
            said.write_text(str(error))

    assert in_a_child(run) == 0
    assert said.read_text().endswith("mend that and resume: what was written is kept.")
    assert "damaged" not in said.read_text()
    assert 5 < held(folder).total() < 32
    goes_on(folder)


@contextlib.contextmanager
def unprivileged():
    """As a user who is bound by modes."""
    mine = os.geteuid()
    os.seteuid(mine or 65534)
    try:
        yield
    finally:
        os.seteuid(mine)


@pytest.fixture
def place():
    """A folder where anybody may look."""
    with tempfile.TemporaryDirectory() as path:
        Path(path).chmod(0o755)
        yield Path(path)


@pytest.mark.parametrize("what", ["folder", "ledger"])
def test_what_is_read_only_can_be_read_and_is_one_sentence_to_a_run(what, place):
    folder = place / "run"
    stopped(folder, METHOD, target(Reward(20, interrupt, each=True).reward))
    files = [folder, *folder.rglob("*")]
    for p in files:
        shut = what == "folder" or p.name == "ledger.sqlite"
        p.chmod((0o555 if shut else 0o777) if p.is_dir() else (0o444 if shut else 0o666))
    before = contents(folder)
    with unprivileged():
        assert held(folder).total() == 19
        with pytest.raises(StoreError, match=r"^Cannot write .*(Permission denied|read-only)") as error:
            el.resume(folder, METHOD, target(Reward(each=True).reward))
    assert "\n" not in str(error.value)
    assert contents(folder) == before
    for p in files:
        p.chmod(0o777 if p.is_dir() else 0o666)
    goes_on(folder)


def page(n):
    def spoil(data):
        data[n * 4096 : (n + 1) * 4096] = random.Random(n).randbytes(4096)

    return spoil


def cut(data):
    del data[-6000:]


def headless(data):
    data[:100] = bytes(100)


SPOILT = {"the root": page(1), "a leaf": page(3), "another leaf": page(4), "cut short": cut, "no head": headless}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A ledger of a run that was killed after 199 evaluations, all of them in its log."""
    folder = tmp_path_factory.mktemp("sound") / "run"
    killed(folder, Reward(200, kill, each=True).reward, LONG, seconds=9)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    """A copy of it; the lock is nobody's."""
    (tmp_path / "run").mkdir()
    for p in sound.iterdir():
        if p.is_file() and not p.name.endswith("-shm"):
            (tmp_path / "run" / p.name).write_bytes(p.read_bytes())
    return tmp_path / "run"


def spoil(path, how):
    data = bytearray(path.read_bytes())
    how(data)
    path.write_bytes(data)


@pytest.mark.parametrize("how", SPOILT)
def test_a_damaged_ledger_is_refused_untouched_and_repaired_but_for_what_was_overwritten(how, folder):
    path = folder / "ledger.sqlite"
    Ledger(path).close()  # folds the log
    before = {key_of(row): row for row in written(folder) if row["state"] != "pending"}
    assert len(before) == 199
    spoil(path, SPOILT[how])
    as_was = contents(folder)
    says = rf"is damaged \(.*\): restore it from a copy, or run 'elites repair {folder}'"
    with pytest.raises(StoreError, match=says) as error:
        el.resume(folder, METHOD, target(Reward(each=True).reward))
    assert "\n" not in str(error.value)
    assert contents(folder) == as_was
    saved, kept = repair(path)
    assert kept.read_bytes() == as_was["ledger.sqlite"]
    after = {key_of(row): row for row in written(folder)}
    assert len(after) == saved
    assert after.items() <= before.items()
    lost = {"no head": range(1), "the root": range(1, 10), "cut short": range(1, 100)}
    assert len(before) - saved in lost.get(how, range(1, 50))
    goes_on(folder, LONG)


def test_a_damaged_ledger_is_repaired_with_its_log(folder):
    path = folder / "ledger.sqlite"
    Ledger(path).close()
    more = lambda: el.resume(folder, METHOD, target(Reward(60, kill, each=True).reward))
    assert in_a_child(more) == signal.SIGKILL
    before, log = held(folder), Path(f"{path}-wal").read_bytes()
    assert before.total() == 199 + 59
    assert len(log) > 100_000
    spoil(path, page(3))  # which the log does not hold
    as_was = contents(folder)
    with pytest.raises(StoreError, match="is damaged"):
        el.resume(folder, METHOD, target(Reward(each=True).reward))
    assert contents(folder) == as_was
    saved, kept = repair(path)
    after = held(folder)
    assert 199 + 59 - 50 < saved == after.total() < 199 + 59
    assert after <= before
    assert [kept.read_bytes(), Path(f"{kept}-wal").read_bytes()] == [as_was[name] for name in sorted(as_was)]
    again, other = repair(path)  # a sound ledger loses nothing
    assert (again, held(folder)) == (saved, after)
    assert other != kept
    goes_on(folder, LONG)


def test_a_reward_that_was_overwritten_is_seen_and_never_used(folder):
    path = folder / "ledger.sqlite"
    Ledger(path).close()
    row = next(r for r in written(folder, "done") if r["run_step"] == 2)
    spot = struct.pack(">d", row["reward"])
    assert path.read_bytes().count(spot) == 1
    spoil(path, lambda data: data.__setitem__(slice(None), data.replace(spot, struct.pack(">d", 100.0))))
    for use in (lambda: written(folder), lambda: el.resume(folder, METHOD, target(Reward(each=True).reward))):
        with pytest.raises(StoreError, match="a row does not match its checksum"):
            use()
    assert repair(path)[0] == 198
    assert key_of(row) not in {key_of(r) for r in written(folder)}
    goes_on(folder, LONG)


def test_noise_in_place_of_any_part_of_a_ledger_never_makes_a_row(folder):
    path, dice = folder / "ledger.sqlite", random.Random(0)
    Ledger(path).close()
    sound, data = set(rows(path)), path.read_bytes()
    assert len(sound) == 199
    for _ in range(60):
        n = dice.choice([1, 8, 100, 5000])
        at = dice.randrange(len(data) - n)
        path.write_bytes(data[:at] + dice.randbytes(n) + data[at + n :])
        found = set(rows(path))
        assert found <= sound
        assert len(found) >= 199 - (1 + n // 4096) * 50


def test_what_was_not_committed_is_not_taken_from_the_log(folder):
    path, log = folder / "ledger.sqlite", folder / "ledger.sqlite-wal"
    found, data = set(rows(path)), log.read_bytes()
    assert len(found) == 199
    for commit in (0, 1):  # an empty page in place of the one that was written last
        log.write_bytes(data + data[-4120:-4116] + bytes([0, 0, 0, commit]) + data[16:24] + bytes(8 + 4096))
        assert (set(rows(path)) == found) == (not commit)


def test_what_was_forgotten_is_not_repaired_into_life(tmp_path):
    path = tmp_path / "l.sqlite"
    book = Ledger(path)
    entries = [Entry((s, 0, s, i, 0, 0), float(i)) for s in range(1, 9) for i in range(200)]
    for i in range(0, len(entries), 50):
        book.settle(entries[i : i + 50])
    book.forget([(3, 0, 3, 7, 0, 0)])
    assert len(list(read(path))) == len({row[:6] for row in rows(path)}) == 599
    book.close()
    assert len(list(read(path))) == len({row[:6] for row in rows(path)}) == 599


def test_a_clock_that_goes_backwards_changes_nothing(tmp_path, monkeypatch):
    now = [1e9]
    monkeypatch.setattr(module.time, "time", lambda: now.append(now[-1] - 1000) or now[-1])
    stopped(tmp_path / "run", METHOD, target(Reward(31, interrupt, each=True).reward), seconds=9)
    ended = [row["ended"] for row in written(tmp_path / "run") if row["run_step"] and row["ended"]]
    assert len(ended) > 4
    assert sorted(ended, reverse=True) == ended
    goes_on(tmp_path / "run")


def test_a_second_process_is_refused_with_the_number_and_host_of_the_first(tmp_path):
    folder, (out, into) = tmp_path / "run", os.pipe()

    def hold():
        os.write(into, b"x")
        signal.pause()

    pid = os.fork()
    if not pid:
        el.run(METHOD, target(Reward(20, hold, each=True).reward), BUDGET, 7, on=[el.Checkpoint(folder)])
        os._exit(0)
    os.read(out, 1)
    before = contents(folder)
    with pytest.raises(el.InputError, match=f"in use by process {pid} on {socket.gethostname()}: wait for it"):
        el.resume(folder, METHOD, target(Reward(each=True).reward))
    assert contents(folder) == before
    assert held(folder).total() == 19
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    goes_on(folder)


def test_a_ledger_of_a_newer_elites_is_refused_untouched(tmp_path):
    stopped(tmp_path / "run", METHOD, target(Reward(9, interrupt).reward))
    with contextlib.closing(sqlite3.connect(tmp_path / "run" / "ledger.sqlite")) as db:
        db.execute("PRAGMA user_version = 99")
    before = contents(tmp_path / "run")
    with pytest.raises(StoreError, match=r"was written by a newer elites: update elites to go on with it\.$"):
        el.resume(tmp_path / "run", METHOD, target())
    assert contents(tmp_path / "run") == before


def test_no_ledger_and_no_such_state_are_sentences(tmp_path):
    path = tmp_path / "ledger.sqlite"
    for use in (lambda: next(read(path)), lambda: repair(path)):
        with pytest.raises(el.InputError, match="There is no ledger"):
            use()
    path.touch()  # of a run that was killed before its first evaluation
    assert list(read(path)) == []
    with pytest.raises(el.InputError, match="an evaluation is pending, done, failed"):
        next(read(path, "ended"))
