"""A process that stores, deletes and replaces, and says on its standard output what was acknowledged; the test
beside it kills it at every change of a file. Arguments: the data folder.

Lines: `stored UID`, `deleted UID`, `replaced UID`. Each is written when the archive has answered.
"""

import hashlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import dicoms

from dicomweb.archive.archive import open_archive
from dicomweb.archive.spool import Spool, Upload
from dicomweb.config import Config


def upload(data: bytes, spool: Spool | None = None) -> Upload:
    body: bytes | Path = data
    if spool is not None:
        body = spool.scratch()
        body.write_bytes(data)
    return Upload(body, len(data), hashlib.sha256(data).digest())


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def uid(number: int) -> str:
    return f"{dicoms.PREFIX}.1.1.{number}"


def main(data: Path) -> None:
    archive = open_archive(Config(data=data, storage="", index=""))
    for outcome in archive.store([upload(dicoms.ct(1)), upload(dicoms.ct(2))]):
        assert outcome.state == "stored", outcome
        say(f"stored {outcome.instance}")
    (outcome,) = archive.store([upload(dicoms.ct(3), archive.spool)])
    assert outcome.state == "stored", outcome
    say(f"stored {uid(3)}")
    (outcome,) = archive.store([upload(dicoms.ct(2, PatientComments="other"))], on_conflict="replace")
    assert outcome.state == "replaced", outcome
    say(f"replaced {uid(2)}")
    archive.delete(f"{dicoms.PREFIX}.1", f"{dicoms.PREFIX}.1.1", uid(1))
    say(f"deleted {uid(1)}")
    archive.sweep()
    (outcome,) = archive.store([upload(dicoms.ct(3))])
    assert outcome.state == "already", outcome
    say(f"stored {uid(3)}")
    archive.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
