"""Rewards that are programs: what they answer, and how they die."""

import json
import math
import os
import pickle
import signal
import sys
import threading
import time

import pytest
import torch
from elsewhere import HEAD, LENGTH, PIDS, alive, command, gone, program
from helpers import normal

from elites.answers import Scored, Streaming
from elites.rewards.command import Command
from elites.types import InputError

# what is answered


def test_answers_come_in_order_from_one_process_that_lives_on():
    reward = command("put(id=n, score=os.getpid() if o == 'pid' else len(o))")
    assert isinstance(reward, Streaming)
    assert reward(["a", "", "ccc"]) == [1, 0, 3]
    (first,), (second,) = reward(["pid"]), reward(["pid"])
    assert first == second != os.getpid()
    reward.close()


def test_workers_share_the_objects_and_answers_stream():
    reward = command("time.sleep(o); put(id=n, score=os.getpid())", workers=2)
    reward([0, 0])
    began = time.monotonic()
    answers = list(reward.each([0.5, 0.01, 0.02, 0.03]))
    assert answers[-1][0] == 0
    assert [row for row, _ in answers] == [1, 2, 3, 0]
    assert len({pid for _, pid in answers}) == 2
    assert time.monotonic() - began < 0.9
    assert reward.width == 2
    reward.close()


def test_threads_share_the_processes():
    reward, out = command(LENGTH, workers=2), {}
    asking = [threading.Thread(target=lambda i=i: out.update({i: reward(["a" * i] * 4)})) for i in range(6)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    assert out == {i: [i] * 4 for i in range(6)}
    reward.close()


def test_objects_travel_as_json_and_large_ones_do_not_block():
    body = (
        "put(id=n, score=len(o['data']), terms={'rows': o['shape'][0], 'none': None}); sys.stderr.write('x' * 200000)"
    )
    reward = command(body)
    big = normal(300, 500).float()  # more than a pipe holds, both ways
    assert reward([big, big[:2]]) == [Scored(800_000.0, {"rows": 300.0}), Scored(5336.0, {"rows": 2.0})]
    reward.close()
    reward = command("put(id=n, score=len(o))", encode=lambda o: o.tolist())
    assert reward(torch.zeros(2, 7)) == [7, 7]
    reward.close()


def test_an_object_that_cannot_be_sent_fails_alone():
    reward = command(LENGTH)
    answers = reward(["a", {1}, "bb"])
    assert answers[::2] == [1, 2]
    assert isinstance(answers[1], InputError)
    reward.close()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ('put(id=n, error="no pose found")', "no pose found"),
        ('put(id=n, score=1, error="no pose found")', "no pose found"),
        ('put(id=n, score="7")', 'the score is no number: "7"'),
        ("put(id=n, score=True)", "the score is no number: true"),
        ("put(id=n, score=float('nan'))", "the score is not finite"),
        ("put(id=n, score=None)", "the score is no number: null"),
        ("put(id=n)", "the score is no number: null"),
        ("put(id=n, score=1, terms=[2])", "the terms are no dictionary"),
    ],
)
def test_what_is_no_number_is_a_failure(said, reason):
    reward = command(f"if o == 'odd':\n    {said}\nelse:\n    {PIDS}")
    first, odd, last = reward(["a", "odd", "a"])
    assert isinstance(odd, Exception)
    assert reason in str(odd)
    assert first == last  # the process is none the worse for it
    reward.close()


def test_other_lines_are_kept_aside_and_quoted_when_something_fails():
    body = """
        print("loading", flush=True)
        print(json.dumps({"id": n + 1, "score": 9}), json.dumps([n]), "7", "", sep="\\n", flush=True)
        if o == "die":
            sys.stderr.write("first\\nsecond\\nthird\\nmy last words")
            os._exit(3)
        put(id=n, score=1)
    """
    reward = command(body)
    fine, died = reward(["a", "die"])
    assert fine == 1
    assert type(died) is ChildProcessError
    assert "ended with code 3" in str(died)
    assert "on stderr: second | third | my last words" in str(died)
    assert "it printed: {" in str(died)
    assert "| [1] | 7" in str(died)
    reward.close()


# how they die


def test_a_process_that_dies_fails_its_object_alone_and_is_replaced():
    reward = command("if o == 'die': os.kill(os.getpid(), 11)\nput(id=n, score=os.getpid())", workers=2)
    answers = reward(["a", "die", "b", "die", "c"])
    assert [isinstance(answer, Exception) for answer in answers] == [False, True, False, True, False]
    assert {str(answers[i]) for i in (1, 3)} == {"the process ended with SIGSEGV"}
    reward.close()


def test_a_process_that_died_between_two_calls_fails_nothing():
    reward = command(PIDS)
    (pid,) = reward([0])
    os.kill(int(pid), signal.SIGKILL)
    assert gone([pid])
    assert alive(*reward([0]))
    reward.close()


def test_a_call_that_hangs_is_killed_with_all_that_it_started_and_replaced(tmp_path):
    note = tmp_path / "pids"
    body = f"""
        if o == "hang":
            import subprocess
            child = subprocess.Popen(["sleep", "60"])
            open({str(note)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
            sys.stderr.write("thinking")
            sys.stderr.flush()
            time.sleep(60)
        put(id=n, score=os.getpid())
    """
    reward = command(body, timeout=0.4)
    began = time.monotonic()
    first, hung, second = reward(["a", "hang", "b"])
    assert time.monotonic() - began < 3
    assert (type(hung), str(hung)) == (TimeoutError, "there was no answer within 0.4 s; on stderr: thinking")
    assert first != second
    assert gone([*note.read_text().split(), first])
    reward.close()


def test_a_process_that_reads_nothing_is_killed_in_time():
    reward = Command(["sleep", "60"], timeout=0.2, start=0.1)
    began = time.monotonic()
    (answer,) = reward([normal(300, 300)])
    assert str(answer) == "there was no answer within 0.3 s"
    assert time.monotonic() - began < 2
    reward.close()


def test_the_first_call_may_take_longer():
    late = program(LENGTH, head="import time\ntime.sleep(0.6)\n" + HEAD)
    reward = Command(late, timeout=0.3, start=5)
    assert reward(["a"]) == [1]
    reward.close()


def test_a_process_that_leaves_after_its_answer_fails_nothing():
    reward = command("put(id=n, score=os.getpid()); sys.exit()", workers=2)
    answers = reward(["a"] * 6)
    assert len(set(answers)) == 6
    assert all(isinstance(answer, float) for answer in answers)
    reward.close()


def test_a_program_that_dies_at_its_start_is_not_started_for_ever(tmp_path):
    starts = tmp_path / "starts"
    head = f"open({str(starts)!r}, 'a').write('x')\nimport no_such_module\n" + HEAD
    reward = Command(program(LENGTH, head=head))
    answers = reward(["a"] * 50)
    assert all(isinstance(answer, ChildProcessError) for answer in answers)
    assert "ModuleNotFoundError: No module named 'no_such_module'" in str(answers[0])
    assert str(answers[-1]).startswith("given up after 3 processes in a row without one answer; the last: the process")
    assert "no_such_module" in str(answers[-1])
    assert len(starts.read_text()) == 3
    reward(["a"])  # another batch is another chance
    assert len(starts.read_text()) == 4
    reward.close()


def test_a_line_without_end_is_a_failure(monkeypatch):
    monkeypatch.setattr("elites.rewards.child.LARGEST", 100_000)
    reward = command("if o: put(id=n, score=1)\nelse: sys.stdout.write('x' * 10**7)")
    (answer,) = reward([0])
    assert "a line of more than 100,000 bytes" in str(answer)
    assert reward([1]) == [1]
    reward.close()


def test_output_held_open_by_a_grandchild_does_not_hide_a_death():
    body = "import subprocess; subprocess.Popen(['sleep', '60']); os._exit(4)"
    reward = command(body)
    began = time.monotonic()
    assert "ended with code 4" in str(reward(["a"])[0])
    assert time.monotonic() - began < 2
    reward.close()


# what it is made of


def test_copies_work_and_look_the_same():
    reward = command(PIDS, env={"TOKEN": "secret"})
    copy = pickle.loads(pickle.dumps(reward))
    assert repr(copy) == repr(reward)
    assert reward([0]) != copy([0])  # each has its own process
    assert "secret" not in repr(reward)
    assert "at 0x" not in repr(command(PIDS, encode=lambda o: o))
    assert repr(command(PIDS, workers=3, timeout=1)) == repr(command(PIDS))
    assert repr(command(LENGTH)) != repr(command(PIDS))
    reward.close()
    copy.close()


def test_the_environment_and_the_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HERE_ALREADY", "12")
    body = "put(id=n, score=len(os.environ['NEW'] + os.environ['HERE_ALREADY'] + os.path.basename(os.getcwd())))"
    (tmp_path / "four").mkdir()
    reward = command(body, env={"NEW": "123"}, cwd=tmp_path / "four")
    assert reward([0]) == [9]
    reward.close()
    script = tmp_path / "four" / "run"
    script.write_text(f"#!{sys.executable}\n{HEAD}    {LENGTH}\n")
    script.chmod(0o755)
    reward = Command(["./run"], cwd=tmp_path / "four")
    assert reward(["ab"]) == [2]
    reward.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"argv": []},
        {"argv": "cat"},
        {"argv": ["cat", 1]},
        {"argv": ["no-such-program"]},
        {"argv": ["./cat"]},
        {"cwd": "/no/such/folder"},
        {"workers": 0},
        {"timeout": 0},
        {"timeout": math.inf},
        {"start": -1},
    ],
)
def test_settings_that_cannot_work(settings):
    with pytest.raises(InputError):
        Command(**{"argv": ["cat"], **settings})


def test_no_fault_of_this_process_stops_the_others(monkeypatch):
    reward = command(LENGTH)
    with monkeypatch.context() as patched:
        patched.setattr("elites.rewards.child.selectors.DefaultSelector", lambda: os.stat("/no/such/file"))  # noqa: PTH116
        assert "No such file" in str(reward(["a"])[0])
    assert reward(["ab"]) == [2]
    reward.close()


def test_a_program_that_goes_away_is_a_failure(tmp_path):
    script = tmp_path / "run"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    reward = Command([str(script)])
    script.unlink()
    assert "cannot be started" in str(reward(["a"])[0])
    reward.close()


def test_every_line_is_one_object():
    reward = command("put(id=n, score=len(o))")
    assert reward(["a\nb", "\u2028", json.dumps({"id": 0})]) == [3, 1, 9]
    reward.close()
