"""`roentgate up`: the web server and the DIMSE bridge as two processes, watched by this one; one stops, both stop."""

import argparse
import dataclasses
import multiprocessing
import multiprocessing.connection
import multiprocessing.process
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from dicomweb.config import Config
from dicomweb.errors import BadSetting, Error, Unavailable
from dicomweb.launch import begin_log

_SPAWN = multiprocessing.get_context("spawn")


def run(config: Config, _: argparse.Namespace) -> int:
    """Serve until told to stop.

    Raises:
        BadSetting, Unavailable: what kept one of the two from starting.
    """
    config.check_exposure()
    begin_log(config)
    if config.http_port == 0:  # the bridge has to know it
        config = dataclasses.replace(config, http_port=_free_port(config.http_host), dicomweb="")
    if not config.bridge_token:
        config = dataclasses.replace(config, bridge_token=secrets.token_hex(16))
    if not config.bridge_url:
        config = dataclasses.replace(config, bridge_url=f"http://127.0.0.1:{_free_port('127.0.0.1')}")
    stopping = 0
    processes: list[_Process] = []

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping += 1
        for each in processes:
            each.process.kill() if stopping > 1 else each.process.terminate()

    previous = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        web = _Process("web", _web, config)
        processes.append(web)
        said = web.ready()
        if said is None or stopping:
            return _end(processes, stopping)
        bridge = _Process("bridge", _bridge, config)
        processes.append(bridge)
        where = bridge.ready()
        if where is None or stopping:
            return _end(processes, stopping)
        print(_greeting(said, where), flush=True)
        multiprocessing.connection.wait([each.process.sentinel for each in processes])
        return _end(processes, stopping)
    except Error:
        _end(processes, stopping)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _end(processes: "list[_Process]", stopping: int) -> int:
    """Stop what still runs; the exit status is 0 only after a stop that was asked for."""
    if not stopping:  # else they are told already, and a second signal would end them at once
        for each in processes:
            each.process.terminate()
    for each in processes:
        each.process.join()
        each.pipe.close()
    return 0 if stopping and all(each.process.exitcode in (0, -signal.SIGTERM) for each in processes) else 1


class _Process:
    """A process and the pipe on which it says that it is ready, or why it is not."""

    def __init__(self, name: str, target: Callable[..., None], config: Config) -> None:
        self.pipe, theirs = _SPAWN.Pipe(duplex=False)
        self.process: multiprocessing.process.BaseProcess = _SPAWN.Process(
            target=target, args=(config, theirs), name=name
        )
        self.process.start()
        theirs.close()

    def ready(self) -> str | None:
        """Wait for what it says; None if it ended without a word.

        Raises:
            BadSetting, Unavailable: what kept it from starting.
        """
        try:
            message = self.pipe.recv()
        except (EOFError, OSError):
            return None
        if isinstance(message, Error):
            raise message
        return str(message)


def _web(config: Config, pipe: Any) -> None:
    from dicomweb.workers import serve

    os.setpgrp()  # Ctrl-C is the parent's, which passes it on
    _tell(pipe, lambda: serve(config, pipe.send))


def _bridge(config: Config, pipe: Any) -> None:
    from bridge.launch import serve
    from dicomweb.commands.bridge import addresses, settings_of

    begin_log(config)
    os.setpgrp()
    _tie()
    lines: Callable[..., str] = lambda bridge: "\n".join(addresses(config, bridge.port, bridge.tls_port))  # noqa: E731
    _tell(pipe, lambda: serve(settings_of(config), lambda bridge: pipe.send(lines(bridge))))


def _tell(pipe: Any, serving: Callable[[], int]) -> None:
    try:
        sys.exit(serving())
    except (BadSetting, Unavailable) as error:
        pipe.send(type(error)(str(error)))
        sys.exit(1)


def _tie() -> None:
    """Stop when the parent is gone."""
    parent = multiprocessing.parent_process()
    main = threading.main_thread().ident or 0

    def watch() -> None:
        if parent is not None:
            parent.join()
            signal.pthread_kill(main, signal.SIGTERM)  # of this thread's signals the main one would not wake up

    threading.Thread(target=watch, daemon=True).start()


def _greeting(web: str, dimse: str) -> str:
    """The web server's lines with those of the bridge after its root."""
    lines = web.splitlines()
    place = next((number for number, line in enumerate(lines) if "DICOMweb" in line), 0)
    return "\n".join([*lines[: place + 1], dimse, *lines[place + 1 :]])


def _free_port(host: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host.strip("[]"), 0))
        return int(probe.getsockname()[1])
