"""The process of an extraction that holds the device: it receives shots from the videos' processes and returns masks.

Each video's process has its own connection, read by its own thread, so that the next shots are already in memory while
the device computes. If a process ends early or sends an invalid message, only its connection is closed.
"""

import multiprocessing
import sys
import time
import traceback
from collections.abc import MutableSequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Listener
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Thread

from watchmove.pipeline.errors import InvalidInput, Unavailable
from watchmove.pipeline.masks.choice import ShotSegmenter, shot_segmenter
from watchmove.pipeline.settings.extraction import ExtractionSettings
from watchmove.service.extraction.shot_messages import Masks, Shot, receive_shot, send_masks, send_problem
from watchmove.service.records.outcomes import DeviceUse
from watchmove.service.runner.child_process import end_with_parent, fork_server

_READY, _REFUSED = b"ready ", b"refused "
_BACKLOG = 128
"""Connections that may wait to be accepted. Set by hand; not tuned."""
_LEAVE_SECONDS = 5.0
"""How long to wait for the exit code of a process that has closed its pipe. Set by hand; not tuned."""


class DeviceProcess:
    """Handle on the process that holds the device; entering the `with` block starts it, leaving the block ends it."""

    def __init__(self, settings: ExtractionSettings) -> None:
        self._settings = settings
        # shared memory, because a process that computes answers no questions
        self._seconds = multiprocessing.get_context("forkserver").Array("d", 2)
        self._process: BaseProcess | None = None
        self.address = ""

    def __enter__(self) -> "DeviceProcess":
        """Start it and wait until it listens at `address`.

        Raises:
            InvalidInput: there is no such device, or RAFT's weights are missing or do not fit.
            Unavailable: it ended before it listened.
        """
        # not fork: the parent has threads, and CUDA does not work in a fork of a process that has used it
        server = fork_server()
        ours, theirs = server.Pipe()
        arguments = (theirs, self._settings, self._seconds)
        self._process = server.Process(target=_serve, args=arguments, name="device", daemon=True)
        self._process.start()
        # while a copy of this end is open here, recv_bytes would not notice that the process has ended
        theirs.close()
        try:
            answer = ours.recv_bytes()
        except EOFError as error:
            raise Unavailable(self._ended()) from error
        if answer.startswith(_REFUSED):
            raise InvalidInput(answer.removeprefix(_REFUSED).decode())
        self.address = answer.removeprefix(_READY).decode()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.kill()  # it has no state to save, and blocks SIGTERM
            self._process.join()

    @property
    def pid(self) -> int:
        """Its process id; 0 before it has started."""
        return (self._process.pid if self._process else None) or 0

    def check(self) -> None:
        """Raise Unavailable if the process has ended on its own."""
        if self._process is not None and not self._process.is_alive():
            raise Unavailable(self._ended())

    def _ended(self) -> str:
        if self._process is None:
            return "extract.device: its process was not started; enter the `with` block first"
        self._process.join(_LEAVE_SECONDS)
        code = self._process.exitcode
        name = self._settings.device
        return f"extract.device ({name}): the process that holds it ended with exit code {code}; run again"

    def use(self) -> DeviceUse:
        """Seconds that the device was busy, and seconds that it waited for shots, since the first shot arrived."""
        return DeviceUse(busy_seconds=self._seconds[0], waiting_seconds=self._seconds[1])


@dataclass(frozen=True)
class _Problem:
    """Why there are no masks; `machine` is true if the cause is the machine and not the shot."""

    what: str
    machine: bool


@dataclass(frozen=True)
class _Request:
    shot: Shot
    answer: "SimpleQueue[Masks | _Problem]"


def _serve(parent: Connection, settings: ExtractionSettings, seconds: MutableSequence[float]) -> None:
    """Main function of the process: load the networks, listen, and segment shots until the process is killed."""
    end_with_parent()
    try:
        segment = shot_segmenter(settings)
    except InvalidInput as error:
        parent.send_bytes(_REFUSED + str(error).encode())
        return
    requests: SimpleQueue[_Request] = SimpleQueue()
    with Listener(family="AF_UNIX", backlog=_BACKLOG) as listener:
        Thread(target=_accept, args=(listener, requests), daemon=True).start()
        parent.send_bytes(_READY + str(listener.address).encode())
        # Waiting is counted from the first shot: the time before it is the fetch of the first video.
        request = requests.get()
        while True:
            began = time.monotonic()
            request.answer.put(_segmented(request.shot, segment))
            answered = time.monotonic()
            seconds[0] += answered - began
            request = requests.get()
            seconds[1] += time.monotonic() - answered


def _accept(listener: Listener, requests: "SimpleQueue[_Request]") -> None:
    while True:
        Thread(target=_read, args=(listener.accept(), requests), daemon=True).start()


def _read(connection: Connection, requests: "SimpleQueue[_Request]") -> None:
    """Pass the shots of one video's process to the device and return the masks, in order, until the process ends."""
    answers: SimpleQueue[Masks | _Problem] = SimpleQueue()
    with connection, suppress(EOFError, OSError, ValueError):
        while True:
            requests.put(_Request(receive_shot(connection), answers))
            answer = answers.get()
            if isinstance(answer, _Problem):
                send_problem(connection, answer.what, machine=answer.machine)
            else:
                send_masks(connection, answer)


def _segmented(shot: Shot, segment: ShotSegmenter) -> "Masks | _Problem":
    """Masks of a shot, or the problem that prevented them; an exception ends only the video that the shot is from."""
    try:
        return segment(shot.windows, shot.wanted)
    except Unavailable as error:
        return _Problem(str(error), machine=True)
    except Exception as error:  # noqa: BLE001 (any error ends this video only; the others continue)
        traceback.print_exc(file=sys.stderr)
        return _Problem(repr(error), machine=False)
