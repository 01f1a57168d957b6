"""What a tree of processes has used, whether its parts live, were waited for, or ended without anyone who asked."""

import subprocess
import sys
import time

from shotlake.report.tree import ProcessTree

CHILD = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ninput()"
WAITS = f"import subprocess, sys\nsubprocess.run([sys.executable, '-S', '-c', {CHILD!r}])"
WAITS_FOR_NONE = f"import signal\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\n{WAITS}"
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


def used_s(program: str) -> tuple[float, float]:
    """By our process and its descendants while the program lives, and when all of it has ended."""
    tree = ProcessTree()
    before_s = tree.cpu_s()
    parent = subprocess.Popen([sys.executable, "-S", "-c", program], **PIPES)
    assert parent.stdout.readline() == b"done\n"
    living_s = tree.cpu_s() - before_s
    parent.communicate(b"\n", timeout=30)
    return living_s, tree.cpu_s() - before_s


def test_children_and_their_children_count_living_or_not() -> None:
    for program in (WAITS, WAITS_FOR_NONE):
        living_s, ended_s = used_s(program)
        assert living_s >= 0.25
        assert ended_s >= living_s
        assert ended_s < living_s + 0.25  # nothing counts for itself and again for who waited for it


def test_who_has_lost_its_parent_still_counts() -> None:
    tree = ProcessTree()
    before_s = tree.cpu_s()
    begins = f"subprocess.Popen([sys.executable, '-S', '-c', {CHILD!r}])\nprint('begun', flush=True)"
    program = f"import subprocess, sys\n{begins}\ninput()"
    parent = subprocess.Popen([sys.executable, "-S", "-c", program], **PIPES)
    said = {parent.stdout.readline()}  # the child lives
    tree.cpu_s()  # and was seen while it had a parent
    parent.kill()
    parent.wait()
    said.add(parent.stdout.readline())
    assert said == {b"begun\n", b"done\n"}
    assert tree.cpu_s() - before_s >= 0.25
    parent.stdin.close()


def test_other_processes_do_not_count() -> None:
    other = subprocess.Popen([sys.executable, "-S", "-c", CHILD], **PIPES)
    with subprocess.Popen([sys.executable, "-S", "-c", "input()"], **PIPES) as mine:
        tree = ProcessTree(mine.pid)
        assert other.stdout.readline() == b"done\n"
        assert tree.cpu_s() < 0.25
        mine.communicate(b"\n")
    other.communicate(b"\n", timeout=30)


def test_watching_sees_what_has_gone_at_the_end() -> None:
    with ProcessTree().watched() as tree:
        before_s, own_s, before = tree.cpu_s(), time.process_time(), set(tree._living)
        parent = subprocess.Popen([sys.executable, "-S", "-c", WAITS_FOR_NONE], **PIPES)
        assert parent.stdout.readline() == b"done\n"
        while len(tree._living.keys() - before) < 2:  # until the watcher has looked
            time.sleep(0.05)
        parent.communicate(b"\n", timeout=30)
        assert tree.cpu_s() - before_s - (time.process_time() - own_s) >= 0.25
