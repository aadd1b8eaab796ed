"""Programs that are rewards leave nothing behind."""

import gc
import signal
import subprocess
import sys
import threading
import time

from elsewhere import PIDS, alive, command, gone, program

# nothing is left behind


def test_all_processes_end_when_the_reward_is_closed():
    reward = command(PIDS, workers=2)
    pids = {*reward([0] * 6)}
    assert all(map(alive, pids))
    reward.close()
    assert gone(pids, 0)
    assert alive(*reward([0]))  # it may be used again
    reward.close()
    reward.close()


def test_closing_at_work_fails_what_is_under_way():
    reward, out = command("time.sleep(60)"), []
    asking = threading.Thread(target=lambda: out.extend(reward(["a", "b"])))
    asking.start()
    time.sleep(0.2)
    began = time.monotonic()
    reward.close()
    asking.join(2)
    assert time.monotonic() - began < 1
    assert [type(answer) for answer in out] == [ChildProcessError, ConnectionError]


def test_all_processes_end_when_nobody_holds_the_reward():
    reward = command(PIDS)
    pids = reward([0])
    del reward
    gc.collect()
    assert gone(pids)


def test_answers_that_nobody_waits_for_are_not_asked_for(tmp_path):
    note = tmp_path / "calls"
    reward = command(f"open({str(note)!r}, 'a').write('x'); put(id=n, score=1)")
    answers = reward.each([0] * 500)
    next(answers)
    answers.close()
    assert reward([0]) == [1]
    assert len(note.read_text()) < 100
    reward.close()


def test_all_processes_end_with_the_program(tmp_path):
    """Even with some that hang, and even if the program is killed."""
    parents, notes = [], [tmp_path / "return", tmp_path / "kill"]
    for note in notes:
        hang = program(f"open({str(note)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)")
        parent = f"""
import pathlib, sys, threading, time
from elites.rewards.command import Command
reward, note = Command({hang!r}, workers=2), pathlib.Path({str(note)!r})
threading.Thread(target=lambda: reward(["a", "b"]), daemon=True).start()
while not note.exists() or note.read_text().count(" ") < 2:
    time.sleep(0.01)
print("ready", flush=True)
sys.stdin.read()
"""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        parents.append(subprocess.Popen([sys.executable, "-c", parent], **pipes))
    assert [parent.stdout.readline() for parent in parents] == ["ready\n"] * 2
    pids = [pid for note in notes for pid in note.read_text().split()]
    assert len(pids) == 4
    assert all(map(alive, pids))
    parents[1].send_signal(signal.SIGKILL)
    for parent in parents:
        parent.communicate()
    assert [parent.wait(5) for parent in parents] == [0, -signal.SIGKILL]
    assert gone(pids, 2)
