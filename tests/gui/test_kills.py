"""kill -9 at random moments, a hundred times: the session opens again, whole, and at most two seconds are missing.

All but a few of the kills hit a process that runs the program's own desk, lanes, keeper, session, exporter, supervisor
and worker on napari's layers without a window (`tests.gui.desk_to_kill`), forked from one that has the imports behind
it; two sessions are hit again and again. The last test kills real windows.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from napari_semiseg.engine import events
from napari_semiseg.io import read_mask
from napari_semiseg.session import Session, SliceState
from napari_semiseg.session.damage import is_whole

PROGRAM = Path(__file__).with_name("desk_to_kill.py")
SHAPE = (6, 48, 48)
KILLS = {"paint": 44, "export": 32, "train": 24}
PROMISE = 2.0  # s of strokes that may be missing
PAUSE = 0.1  # s between two notes of a process that gets its share of the processor


@dataclass
class Victim:
    """A session that is hit again and again.

    Attributes
    ----------
    path, out : Path
    known : ndarray of bool, shape (planes, rows, columns)
        What was painted when it was last looked at.
    missing : list of float
        Age (s) of the oldest stroke that was missing, per kill.
    """

    path: Path
    out: Path
    known: np.ndarray = field(default_factory=lambda: np.zeros(SHAPE, bool))
    missing: list[float] = field(default_factory=list)


@pytest.fixture
def make_victim(tmp_path):
    """Return a function that makes a session with one volume and one annotated slice."""
    from small_sessions import write_image

    def make(name: str) -> Victim:
        session = Session.create(tmp_path / f"{name}.semiseg", classes={1: "cavity"})
        record = session.add_volume(write_image(tmp_path / f"{name}.nii.gz"))
        victim = Victim(session.path, tmp_path / f"{name}-masks")
        annotation = session.annotation(record.id)
        plane = np.full(SHAPE[1:], 255, np.uint8)
        plane[20:30, 20:30] = 1
        annotation.set_plane(2, plane)
        annotation.set_state(2, SliceState.COMPLETE)
        session.close()
        victim.known = annotation.said == 1
        return victim

    return make


def environment(**more: str) -> dict[str, str]:
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([*sys.path, str(PROGRAM.parents[2])]),
        **more,
    }


@pytest.fixture
def fork(tmp_path):
    """Return a function that forks a child of the prepared process for an order: its process number."""
    mother = subprocess.Popen(
        [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env=environment(QT_QPA_PLATFORM="offscreen", XDG_STATE_HOME=str(tmp_path)),
    )  # fmt: skip
    lock = threading.Lock()
    assert json.loads(mother.stdout.readline()) == {"ready": True}

    def send(order: dict[str, Any]) -> int:
        with lock:
            mother.stdin.write(json.dumps(order) + "\n")
            mother.stdin.flush()
            return json.loads(mother.stdout.readline())["pid"]

    yield send
    mother.stdin.close()
    mother.wait(timeout=30)
    mother.stdout.close()


def notes(journal: Path) -> list[dict[str, Any]]:
    """What a child wrote down, without a line that the kill cut."""
    content = journal.read_bytes() if journal.exists() else b""
    return [json.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def wait_for(condition, seconds, what):
    """Wait for something of another process."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.01)


def strike(victim: Victim, chance: random.Random, kind: str, journal: Path, start, painted: float = -1.0) -> str:
    """Let a child live for a random while, kill it, and look at what it left; returns a line about it.

    The while begins when the session is open, or when the child has painted for a time (s).
    """
    order = {
        "session": str(victim.path), "out": str(victim.out), "journal": str(journal), "kind": kind,
        "seed": chance.randrange(2**32),
    }  # fmt: skip
    pid = start(order)
    wait_for(lambda: any("why_not" in note for note in notes(journal)), 60, "the session did not open")
    if painted >= 0:
        wait_for(lambda: painted_for(notes(journal)) >= painted, 60, "nothing was painted")
    longest = 2.0 if kind == "train" else 0.8
    span = chance.uniform(2.1, 3.0) if chance.random() < 0.08 else chance.uniform(0, longest)
    time.sleep(span)
    os.kill(pid, signal.SIGKILL)
    now = time.monotonic()
    wait_for(lambda: not alive(pid), 10, "the process outlived kill -9")
    told = notes(journal)
    assert told[0].get("why_not", told[-1].get("why_not", "")) == "", "the lock of a killed program was not taken over"
    workers = [note["worker"] for note in told if "worker" in note]
    fate = ""
    if workers:
        fate = chance.choice([", worker killed with it", ", worker goes on"])
        if "killed" in fate:
            os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: not alive(workers[0]), 60, "the worker did not leave")
    victim.missing.append(look(victim, told, now))
    return f"{kind} after {span:.2f} s{fate}: strokes younger than {victim.missing[-1]:.2f} s are missing"


def painted_for(told: list[dict[str, Any]]) -> float:
    """Time between the first and the last stroke (s); -1 if there was none."""
    times = [note["t"] for note in told if "plane" in note]
    return times[-1] - times[0] if times else -1.0


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except (OSError, IndexError):
        return False


def look(victim: Victim, told: list[dict[str, Any]], now: float) -> float:
    """Open a session that was hit and compare it with what the child wrote down; returns how much is missing (s)."""
    every_file_is_whole(victim.path)
    session = Session.open(victim.path)
    session.hold()
    annotation = session.annotation("first" if "first" in session.volumes else next(iter(session.volumes)))
    said = annotation.said
    for sentence in session.reports:
        assert "was painted when the program ended" in sentence, sentence
    assert not (victim.path / "damaged").exists()
    assert set(np.unique(said)) <= {1, 255}
    strokes = [note for note in told if "plane" in note]
    times = [note["t"] for note in strokes] + [now]
    waited = sum(max(0.0, later - earlier - PAUSE) for earlier, later in itertools.pairwise(times))
    oldest = 0.0
    for plane in range(SHAPE[0]):
        mine = [note for note in strokes if note["plane"] == plane]
        states = [victim.known[plane], *(unpacked(note["bits"]) for note in mine)]
        found = said[plane] == 1
        # Strokes only add, and a plane may be saved in the middle of one: it lies between two neighbouring states.
        newest = max((i for i, state in enumerate(states) if not (state & ~found).any()), default=-1)
        assert newest >= 0, unlike(plane, states, found)
        assert newest + 1 == len(states) or not (found & ~states[newest + 1]).any(), unlike(plane, states, found)
        lost = mine[newest:]
        if lost:
            oldest = max(oldest, now - lost[0]["t"])
    assert oldest <= PROMISE + waited, f"{oldest:.2f} s are missing, of which the process had to wait {waited:.2f} s"
    for round_ in session.rounds():
        assert round_.class_ids == (0, 1)
        # A worker that outlived its viewer finishes what it is in.
        assert isinstance(list(round_.tail())[-1], events.Finished | events.Failed)
        assert round_.status in ("finished", "failed", "stopped")
    for mask in victim.out.glob("[!.]*") if victim.out.is_dir() else ():
        if mask.suffix == ".json":  # the geometry beside a TIFF
            json.loads(mask.read_text())
            continue
        assert set(np.unique(read_mask(mask, session.volumes[next(iter(session.volumes))].geometry))) <= {0, 1}
    victim.known = said == 1
    session.let_go()
    return oldest


def unlike(plane: int, states: list[np.ndarray], found: np.ndarray) -> str:
    nearest = min(range(len(states)), key=lambda index: np.count_nonzero(states[index] != found))
    more, less = found & ~states[nearest], states[nearest] & ~found
    return (
        f"plane {plane} is none of {len(states)} that were painted; state {nearest} and {np.argwhere(more).tolist()}, "
        f"without {np.argwhere(less).tolist()}"
    )


def unpacked(bits: str) -> np.ndarray:
    plane = np.unpackbits(np.frombuffer(base64.b64decode(bits), np.uint8))
    return plane[: SHAPE[1] * SHAPE[2]].reshape(SHAPE[1:]).astype(bool)


def every_file_is_whole(folder: Path) -> None:
    """Read every file that has its name; those on their way to one have names of their own, which are swept later."""
    for path in sorted(folder.rglob("*")):
        if any(part.startswith(".") for part in path.relative_to(folder).parts) or not path.is_file():
            continue
        if path.suffix in (".json", ".safetensors") and path.name != "lock.json":
            assert is_whole(path), f"{path} is half-written"
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                dict(arrays)
    for array in folder.rglob("annotation.zarr"):
        zarr.open_array(array, mode="r")[:]
    for group in folder.glob("rounds/*/predictions/[!.]*.zarr"):
        for _, array in zarr.open_group(group, mode="r").arrays():
            array[:]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks a process that has napari and torch loaded")
def test_a_hundred_kills_lose_at_most_two_seconds(make_victim, fork, tmp_path):
    seed = int(os.environ.get("SEMISEG_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"SEMISEG_SEED={seed}")
    chance = random.Random(seed)
    kinds = [kind for kind, count in KILLS.items() for _ in range(count)]
    chance.shuffle(kinds)
    assert len(kinds) == 100
    # Two sessions side by side, each hit fifty times.
    halves = [(make_victim(name), kinds[part::2], random.Random(chance.random())) for part, name in enumerate("ab")]

    def hit(victim: Victim, own_kinds: list[str], own_chance: random.Random) -> None:
        for number, kind in enumerate(own_kinds):
            journal = tmp_path / f"{victim.path.stem}-{number}.jsonl"
            print(f"{victim.path.stem} {number}: {strike(victim, own_chance, kind, journal, fork)}", flush=True)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(hit, *half) for half in halves]:
            done.result()
    missing = sorted(victim_missing for victim, *_ in halves for victim_missing in victim.missing)
    print(f"missing at most {missing[-1]:.2f} s, in the middle {missing[50]:.2f} s")
    assert any(mask for victim, *_ in halves for mask in victim.out.glob("[!.]*"))
    assert any(round_.has_model for victim, *_ in halves for round_ in Session.open(victim.path).rounds())


@pytest.mark.clock
@pytest.mark.gui
@pytest.mark.slow
def test_kills_of_a_real_window(make_victim, tmp_path):
    seed = int(os.environ.get("SEMISEG_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
    print(f"SEMISEG_SEED={seed}")
    chance, victim = random.Random(seed), make_victim("a")
    windows: list[subprocess.Popen[bytes]] = []

    def start(order: dict[str, Any]) -> int:
        windows.append(
            subprocess.Popen(
                [sys.executable, str(PROGRAM), json.dumps(order)], env=environment(XDG_STATE_HOME=str(tmp_path))
            )
        )
        return windows[-1].pid

    # The last one paints for longer than what may be missing, so that something must be there.
    for kind, painted in (("paint", 0.0), ("export", 0.0), ("train", PROMISE + 0.5)):
        print(strike(victim, chance, kind, tmp_path / f"{kind}.jsonl", start, painted))
        windows[-1].wait()
    assert victim.known.sum() > 100
