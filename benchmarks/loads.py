"""What loads do to the bridge: an object of a gigabyte, hundreds of idle associations, an object store that is far."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import data, scu
from benchmarks.servers import Roentgate, free_port, running

IDLE, WORKING, EACH = 200, 8, 25
SLOW_SECONDS = 0.05
_SLOW_INSTANCES = 100
# The object store answers late; all else is as it is
_FAR = (
    "import subprocess, sys, time; from dicomweb.storage.filesystem import Filesystem as F; put = F.put\n"
    "def far(*a, **k): time.sleep({seconds}); return put(*a, **k)\n"
    "F.put = far\n"
    "bridge = subprocess.Popen([sys.executable, '-m', 'dicomweb', 'bridge', '--dimse-port', '{dimse}'])\n"
    "from dicomweb.cli import main\n"
    "try: main(['serve'])\n"
    "finally: bridge.terminate(); bridge.wait()"
)


class Pair(Roentgate):
    """Web server and bridge as two processes that are told apart.

    Args:
        folder: of its data.
        seconds: that the object store takes longer.
        settings: of both.
    """

    def __init__(self, folder: Path, seconds: float = 0.0, **settings: str) -> None:
        super().__init__(folder)
        self.dimse_port = free_port()
        self._seconds = seconds
        self._settings = settings

    def command(self) -> list[str]:
        """The web server, with the bridge below it."""
        return [sys.executable, "-c", _FAR.format(seconds=self._seconds, dimse=self.dimse_port)]

    def environment(self) -> dict[str, str]:
        """With what both must know."""
        root = f"http://127.0.0.1:{self.port}/dicom-web"
        more = {"ROENTGATE_BRIDGE_TOKEN": "bench", "ROENTGATE_DICOMWEB": root, **self._settings}
        return {**super().environment(), **more}

    def status(self, field: str) -> dict[str, int]:
        """A line of /proc/PID/status of web server and bridge: kilobytes of memory, or threads."""
        found = {}
        for pid in self.pids():
            program = Path(f"/proc/{pid}/cmdline").read_bytes()
            line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith(field))
            found["bridge" if b"bridge\0--dimse-port" in program else "web"] = int(line.split()[1])
        return found

    def until_associated(self, classes: list[str], **more: Any) -> Any:
        """Associate as soon as the bridge listens."""
        from dicomweb.errors import NotAssociated

        deadline = time.monotonic() + 30
        while True:
            try:
                return scu.associate(self.dimse_port, classes, **more)
            except NotAssociated:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)


def measure(folder: Path, megabytes: int) -> dict[str, object]:
    """Measure all of it."""
    return {
        f"an object of {megabytes} MB": _large(folder / "large", megabytes),
        f"{IDLE} idle associations, {WORKING} working": _many(folder / "many"),
        "object store 50 ms away, per second": {
            f"{count} associations, spool {spool}": _far(folder / f"far{count}{spool}", count, spool)
            for spool in ("off", "on")
            for count in (1, 8)
        },
    }


def _large(folder: Path, megabytes: int) -> dict[str, float]:
    server = Pair(folder)
    with running([server]):
        association = server.until_associated([data.CT, scu.GET], stored=[data.CT])
        warm = _data_set(data.part10(data.image(data.header(2, 1, 1), 1, 512, 512)))
        assert scu.store(association, data.CT, f"{data.ROOT}.2.1.1", warm) == 0
        results: dict[str, float] = {}
        for name in ("in", "out"):
            server.reset_peak()
            floor, before, begin = server.status("VmHWM:"), server.cpu(), time.monotonic()
            if name == "in":
                assert scu.store(association, data.CT, f"{data.ROOT}.1.1.1", _pieces(megabytes)) == 0
            else:
                assert scu.get(association, f"{data.ROOT}.1") > megabytes * 1_000_000
            results |= {f"{name} s": time.monotonic() - begin, f"{name} CPU s": server.cpu() - before}
            for process, peak in server.status("VmHWM:").items():
                results[f"{name} {process} above idle MB"] = (peak - floor[process]) / 1024
        association.release()
    return {name: round(value, 2) for name, value in results.items()}


def _pieces(megabytes: int) -> Iterator[bytes]:
    """The data set of an object of so many megabytes."""
    frames = megabytes * 1_000_000 // (1 << 19) + 1
    ds = data.image(data.header(1, 1, 1), 1, 512, 512)
    ds.NumberOfFrames = frames
    ds.PixelData = b""
    yield _data_set(data.part10(ds))[:-4] + (frames << 19).to_bytes(4, "little")
    for _ in range(frames):
        yield bytes(1 << 19)


def _data_set(file: bytes) -> bytes:
    return file[144 + int.from_bytes(file[140:144], "little") :]


def _many(folder: Path) -> dict[str, object]:
    most = str(2 * (IDLE + WORKING))
    server = Pair(folder, ROENTGATE_DIMSE_ASSOCIATIONS=most, ROENTGATE_DIMSE_ASSOCIATIONS_PER_PEER=most)
    with running([server]):
        server.until_associated([data.CT]).release()
        floor = server.status("VmRSS:")
        idle = [scu.associate(server.dimse_port, [data.CT], f"IDLE{number}") for number in range(IDLE)]
        resting, threads, cpu = server.status("VmRSS:"), server.status("Threads:"), server.cpu()
        time.sleep(5.0)
        cpu = server.cpu() - cpu
        rate = _store(server, WORKING, EACH)
        working, most_threads = server.status("VmRSS:"), server.status("Threads:")
        for each in idle:
            each.release()
    return {
        "bridge KB for each idle association": round((resting["bridge"] - floor["bridge"]) / IDLE, 1),
        "bridge threads idle": threads["bridge"],
        "bridge threads working": most_threads["bridge"],
        "bridge MB working": round(working["bridge"] / 1024),
        "web MB working": round(working["web"] / 1024),
        "CPU of both while idle, percent of a core": round(cpu / 5.0 * 100, 2),
        "instances a second": round(rate, 1),
    }


def _far(folder: Path, count: int, spool: str) -> float:
    server = Pair(folder, SLOW_SECONDS, ROENTGATE_SPOOL="true" if spool == "on" else "false")
    with running([server]):
        server.until_associated([data.CT]).release()
        return round(_store(server, count, _SLOW_INSTANCES // count), 1)


def _store(server: Pair, count: int, each: int) -> float:
    """Store over so many associations at once; return instances a second until the last was acknowledged."""
    files = [_data_set(part) for part in data.ct_series(3, each)]
    failed: list[int] = []

    def work(number: int) -> None:
        association = scu.associate(server.dimse_port, [data.CT], f"BENCH{number}")
        for place, file in enumerate(files, 1):
            # The instances of each association have UIDs of their own, of the same length
            own = file.replace(f"{data.ROOT}.3.".encode(), f"{data.ROOT}.{number}.".encode())
            if scu.store(association, data.CT, f"{data.ROOT}.{number}.1.{place}", own):
                failed.append(place)
        association.release()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, count + 1)]
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise SystemExit(f"{len(failed)} instances were not stored")
    return count * each / (time.monotonic() - begin)


def main() -> None:
    """Measure with an object of a gigabyte."""
    import json
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="roentgate-loads-"))
    try:
        print(json.dumps(measure(folder, int(os.environ.get("MEGABYTES", "1000"))), indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
