"""Delete: readers see all of a resource or nothing of it; its bytes go afterwards.

A tombstone object is durable before anything changes, so that a deletion survives the loss of the index. It
names the versions that it deletes, exactly: what is stored afterwards under the same UIDs is not touched. The
Standard has no delete; we follow what DICOMweb servers offer (`DELETE` on study, series and instance).
"""

import time

from dicomweb.archive import tombstones
from dicomweb.archive.versions import new_version, tombstone_key
from dicomweb.index import Index, Tombstone
from dicomweb.storage import Storage


def delete(storage: Storage, index: Index, study: str, series: str | None, instance: str | None, reason: str) -> int:
    """Delete a study, a series or an instance, with every version that is held of it.

    Returns:
        How many instances went.

    Raises:
        NotFound, Gone: there is nothing to delete.
        OutOfSpace, Unavailable: the tombstone could not be written; nothing was deleted.
    """
    if series is not None and instance is not None:
        index.locate(study, series, instance)
    else:
        index.members(study, series)
    version = new_version()
    tombstone = Tombstone(
        version=version,
        key=tombstone_key(version),
        study=study,
        series=series,
        instance=instance,
        versions=tuple(index.versions(study, series, instance)),
        time=time.time(),
        reason=reason,
    )
    tombstones.place(storage, index, tombstone)
    return index.delete(tombstone)
