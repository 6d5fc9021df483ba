"""Delete: readers see all of a resource or nothing of it; its bytes go afterwards.

A tombstone object is durable before anything changes, so that a deletion survives the loss of the index. It
names the versions that it deletes, exactly: what is stored afterwards under the same UIDs is not touched. The
Standard has no delete; we follow what DICOMweb servers offer (`DELETE` on study, series and instance).
"""

import time

from dicomweb.archive import tombstones
from dicomweb.archive.versions import new_version, tombstone_key
from dicomweb.errors import Error
from dicomweb.index import Index, Tombstone
from dicomweb.storage import Storage


def delete(
    storage: Storage,
    index: Index,
    study: str,
    series: str | None = None,
    instance: str | None = None,
    reason: str = "",
    given_up: set[int] | None = None,
) -> int:
    """Delete a study, a series or an instance, with every version that is held of it.

    Args:
        storage, index: what it is deleted from.
        study, series, instance: UIDs; None for the whole study or series.
        reason: kept with the deletion.
        given_up: takes the version of a tombstone that the sweep is to finish or to take back.

    Returns:
        How many instances went.

    Raises:
        NotFound, Gone: there is nothing to delete.
        OutOfSpace, Unavailable: the deletion did not take place, or will with the next sweep.
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
    try:
        tombstones.place(storage, index, tombstone)
        return index.delete(tombstone)
    except Error:
        if given_up is not None:
            given_up.add(version)
        raise
