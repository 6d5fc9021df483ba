"""Writing: what a transaction does in order to make versions visible or to remove them, with aggregates and
speakers put right.

Locks, for PostgreSQL: studies by UID, then series by UID, then patients; so two transactions that meet wait for
each other in one order. A study's row is locked by whoever changes anything of it, so counts are sums.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dicomweb.deflate import write_zlib
from dicomweb.index import Entry, feed, patients
from dicomweb.index.codes import Codes
from dicomweb.index.forms import read_column, storable, write_list
from dicomweb.index.pieces import Piece
from dicomweb.index.rows import (
    INSTANCE_FIELDS,
    SERIES_FIELDS,
    STUDY_FIELDS,
    fill_key,
    instance_values,
    patient_held,
    series_held,
    series_values,
    study_held,
    study_values,
)
from dicomweb.index.schema import Dialect
from dicomweb.index.session import Again, Session, among, lock
from dicomweb.standard.matching import Dataset

_SLOTS = 16
"""Rows among which writers of PostgreSQL spread what they add to the bytes of all, so that they seldom meet."""


@dataclass(slots=True)
class Ready:
    """An entry ready to be written: the form of its key, its metadata compressed, the dictionary used beside it."""

    entry: Entry
    place: str | None
    piece: Piece
    dictionary: bytes


@dataclass(slots=True)
class _Study:
    """A locked row of `study`, and what becomes of it; id 0 is a row that is not there yet."""

    uid: str
    id: int = 0
    patient: int = 0
    series: int = 0
    instances: int = 0
    bytes: int = 0
    modalities: set[str] = field(default_factory=set)
    classes: set[str] = field(default_factory=set)
    speaker_uid: str = ""
    speaker: int = 0
    spoke: int = 0  # the speaker before
    visible: int = 0  # in the row
    dataset: Dataset | None = None  # of a new speaker
    whole: bool = False  # its row was inserted as it is to be

    def counts(self) -> list[Any]:
        """Values of _STUDY_COUNTS."""
        return [
            write_list(self.modalities),
            write_list(self.classes),
            self.series,
            self.instances,
            self.bytes,
        ]


_STUDY_COUNTS = ("modalities", "classes", "series", "instances", "bytes")
_SPEAKER = ("speaker", "speaker_uid")


@dataclass(slots=True)
class _Series:
    """A locked row of `series`, and what becomes of it; id 0 is a row that is not there yet."""

    uid: str
    study: _Study
    id: int = 0
    instances: int = 0
    modality: str = ""
    dictionary: int = 0
    speaker_uid: str = ""
    speaker: int = 0
    visible: int = 0  # in the row
    dataset: Dataset | None = None  # of a new speaker
    values: list[Any] | None = None  # of SERIES_FIELDS, from a new speaker
    held: bytes = b""
    revised: bool = False  # another modality came in place of the one before


def _assign(columns: Iterable[str]) -> str:
    return ", ".join(f'"{column}" = ?' for column in columns)


def insert_sql(table: str, columns: Sequence[str]) -> str:
    """Return the statement that inserts a row."""
    names = ", ".join(f'"{column}"' for column in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"


_INSERT_INSTANCE = insert_sql("instance", INSTANCE_FIELDS)
_MODALITY = SERIES_FIELDS.index("Modality")
_STUDY_ROW = ("uid", "patient", "visible", *_STUDY_COUNTS, *_SPEAKER, *STUDY_FIELDS)
_SERIES_ROW = ("study", "uid", "visible", "instances", "dictionary", *_SPEAKER, *SERIES_FIELDS)
_UPDATE_STUDY_COUNTS = f"UPDATE study SET {_assign(_STUDY_COUNTS)} WHERE id = ?"
_UPDATE_STUDY = f"UPDATE study SET {_assign((*_STUDY_COUNTS, *_SPEAKER, *STUDY_FIELDS))} WHERE id = ?"
_UPDATE_SERIES_COUNTS = "UPDATE series SET instances = ?, dictionary = ? WHERE id = ?"
_UPDATE_SERIES = f"UPDATE series SET {_assign(('instances', 'dictionary', *_SPEAKER, *SERIES_FIELDS))} WHERE id = ?"


class Writer:
    """Changes of studies, series and instances inside one transaction.

    Args:
        session: the transaction.
        codes: ids of SOP classes, transfer syntaxes and forms of keys; has those of all entries.
        now: seconds since 1970, for the change feed.
        read_dataset: reads the metadata of a version that stays, when it becomes a speaker.
    """

    def __init__(
        self,
        session: Session,
        codes: Codes,
        now: float,
        read_dataset: Callable[[Session, int], Dataset],
    ) -> None:
        self._session = session
        self._dialect: Dialect = session.dialect
        self._codes = codes
        self._now = now
        self._read_dataset = read_dataset

    # -- adding ------------------------------------------------------------------------------------------
    def add(self, ready: Sequence[Ready], current: bool, kind: str = "stored", absent: Collection[str] = ()) -> None:
        """Insert versions; current ones become visible and are recorded as changes of this kind.

        Raises:
            Again: a study that was found to be absent is there by now.
        """
        studies = self._lock_studies({storable(item.entry.held.study) for item in ready}, create=True)
        if any(uid in studies and studies[uid].id for uid in map(storable, absent)):
            raise Again("a study came up that was not there a moment ago")
        wanted = {(storable(item.entry.held.study), storable(item.entry.held.series)) for item in ready}
        series = self._lock_series(studies, wanted)
        dictionaries: dict[int, tuple[_Series, bytes]] = {}
        for item in ready:
            held = item.entry.held
            place = series[storable(held.study), storable(held.series)]
            if place.dictionary != item.piece.dictionary:
                dictionaries[item.piece.dictionary] = (place, item.dictionary)
                place.dictionary = item.piece.dictionary
            if current:
                self._count(place, item.entry)
        for place in series.values():
            self._listen(place)
        for place in series.values():
            self._write_series(place)
        self._write_studies(studies.values(), [place.study for place in series.values() if place.revised])
        self._write_dictionaries(dictionaries)
        self._session.many(
            _INSERT_INSTANCE,
            [
                instance_values(
                    item.entry,
                    series[storable(item.entry.held.study), storable(item.entry.held.series)].id,
                    current,
                    self._codes.ids,
                    item.place,
                    item.piece.dictionary,
                    item.piece.data,
                )
                for item in ready
            ],
        )
        self._use(sum(item.entry.held.size for item in ready))
        if current:
            feed.record(self._session, kind, [item.entry.held.version for item in ready], self._now)

    def _count(self, place: _Series, entry: Entry) -> None:
        study, uid = place.study, storable(entry.held.instance)
        if place.instances == 0:
            study.series += 1
        place.instances += 1
        study.instances += 1
        study.bytes += entry.held.size
        study.classes.add(storable(entry.held.sop_class))
        if not place.speaker_uid or uid < place.speaker_uid:
            place.speaker_uid, place.speaker, place.dataset = uid, entry.held.version, entry.dataset
        if not study.speaker_uid or uid < study.speaker_uid:
            study.speaker_uid, study.speaker, study.dataset = uid, entry.held.version, entry.dataset

    # -- removing ----------------------------------------------------------------------------------------
    def remove(self, versions: Sequence[int], tombstone: int, kind: str | None) -> int:
        """Remove versions, current or not; their keys go to the garbage of the tombstone.

        Args:
            versions: which; those that are not there are passed over.
            tombstone: version of the tombstone that removes them.
            kind: of the change recorded for each current one; None records none.

        Returns:
            How many current ones went.
        """
        condition, value = among(self._dialect, "ins.version", versions)
        studies = self._lock_studies(
            {
                row[0]
                for row in self._session.rows(
                    "SELECT DISTINCT st.uid FROM instance ins JOIN series se ON se.id = ins.series "
                    f"JOIN study st ON st.id = se.study WHERE {condition}",
                    (value,),
                )
            },
            create=False,
        )
        rows = self._session.rows(
            "SELECT ins.version, ins.uid, ins.current, ins.size, ins.digest, ins.place, ins.key, se.id, se.uid, "
            "st.uid FROM instance ins JOIN series se ON se.id = ins.series JOIN study st ON st.id = se.study "
            f"WHERE {condition} ORDER BY ins.version",
            (value,),
        )
        if not rows:
            return 0
        if {row[9] for row in rows} - studies.keys():
            raise Again("a study came up while its versions were being removed")
        self._bury(rows, tombstone)
        wanted = {(row[9], row[8]) for row in rows}
        series = self._lock_series(studies, wanted)
        gone: dict[int, list[Any]] = defaultdict(list)
        for row in rows:
            gone[row[7]].append(row)
        for place in series.values():
            self._uncount(place, gone[place.id])
        for study in studies.values():
            self._settle_study(study)
        self._use(-sum(row[3] for row in rows))
        current = [row[0] for row in rows if row[2]]
        if current and kind is not None:
            feed.record(self._session, kind, current, self._now)
        return len(current)

    def _use(self, size: int) -> None:
        """Add to the bytes of all versions."""
        slot = random.randrange(_SLOTS) if self._dialect == "postgresql" else 0
        self._session.run(
            "INSERT INTO usage (slot, bytes) VALUES (?, ?) "
            "ON CONFLICT (slot) DO UPDATE SET bytes = usage.bytes + excluded.bytes",
            (slot, size),
        )

    def _bury(self, rows: Sequence[Any], tombstone: int) -> None:
        forms = self._codes.texts(self._session, {row[5] for row in rows if row[6] is None})
        condition, value = among(self._dialect, "version", [row[0] for row in rows])
        self._session.run(f"DELETE FROM instance WHERE {condition}", (value,))
        self._session.many(
            "INSERT INTO gone (version, study, series, instance) VALUES (?, ?, ?, ?)",
            [(row[0], row[9], row[8], row[1]) for row in rows],
        )
        self._session.many(
            "INSERT INTO garbage (version, key, tombstone) VALUES (?, ?, ?)",
            [
                (
                    row[0],
                    row[6] if row[6] is not None else fill_key(forms[row[5]], bytes(row[4]), row[0]),
                    tombstone,
                )
                for row in rows
            ],
        )

    def _uncount(self, place: _Series, rows: Sequence[Any]) -> None:
        """Take versions out of a series' counts; drop the series, or find it another speaker."""
        session, study = self._session, place.study
        current = [row for row in rows if row[2]]
        place.instances -= len(current)
        study.instances -= len(current)
        study.bytes -= sum(row[3] for row in current)
        if current and place.instances == 0:
            study.series -= 1
        if not session.rows("SELECT 1 FROM instance WHERE series = ? LIMIT 1", (place.id,)):
            session.run("DELETE FROM series WHERE id = ?", (place.id,))
            session.run("DELETE FROM series_held WHERE id = ?", (place.id,))
            session.run("DELETE FROM dictionary WHERE series = ?", (place.id,))
            return
        if place.instances == 0:
            place.speaker_uid, place.speaker = "", 0
            session.run("UPDATE series SET speaker = 0, speaker_uid = '' WHERE id = ?", (place.id,))
        elif any(row[0] == place.speaker for row in current):
            ((uid, version),) = session.rows(
                "SELECT uid, version FROM instance WHERE series = ? AND current = 1 ORDER BY uid LIMIT 1",
                (place.id,),
            )
            place.speaker_uid, place.speaker = uid, version
            place.dataset = self._read_dataset(session, version)
        self._listen(place)
        self._write_series(place)

    def _settle_study(self, study: _Study) -> None:
        """Put a study right after removals; drop it if nothing is left."""
        session = self._session
        if not session.rows("SELECT 1 FROM series WHERE study = ? LIMIT 1", (study.id,)):
            session.run("DELETE FROM study WHERE id = ?", (study.id,))
            session.run("DELETE FROM study_held WHERE id = ?", (study.id,))
            patients.recompute(session, study.patient)
            return
        study.modalities = self._modalities(study)
        study.classes = {
            row[0]
            for row in session.rows(
                "SELECT DISTINCT code.text FROM series se JOIN instance ins ON ins.series = se.id "
                "JOIN code ON code.id = ins.class WHERE se.study = ? AND ins.current = 1",
                (study.id,),
            )
        }
        if study.instances == 0:
            patient, study.patient = study.patient, 0
            study.speaker_uid, study.speaker = "", 0
            self._show("study", study)
            session.run(_UPDATE_STUDY_COUNTS, [*study.counts(), study.id])
            session.run("UPDATE study SET patient = 0, speaker = 0, speaker_uid = '' WHERE id = ?", (study.id,))
            patients.recompute(session, patient)
            return
        ((uid, version),) = session.rows(
            "SELECT speaker_uid, speaker FROM series WHERE study = ? AND instances > 0 ORDER BY speaker_uid LIMIT 1",
            (study.id,),
        )
        if version != study.speaker:
            study.speaker_uid, study.speaker = uid, version
            study.dataset = self._read_dataset(session, version)
        self._write_study(study)

    # -- rows of studies and series ----------------------------------------------------------------------
    def _lock_studies(self, uids: set[str], create: bool) -> dict[str, _Study]:
        condition, value = among(self._dialect, "uid", sorted(uids))
        rows = self._session.rows(
            "SELECT uid, id, patient, series, instances, bytes, modalities, classes, speaker_uid, speaker, visible "
            f"FROM study WHERE {condition} ORDER BY uid{lock(self._dialect)}",
            (value,),
        )
        studies = {}
        for uid, number, patient, series, instances, size, modalities, classes, speaker_uid, speaker, visible in rows:
            known = (set(read_column(modalities)), set(read_column(classes)))
            studies[uid] = _Study(
                uid,
                number,
                patient,
                series,
                instances,
                size,
                *known,
                speaker_uid,
                speaker,
                spoke=speaker,
                visible=visible,
            )
        if create:
            for uid in sorted(uids - studies.keys()):
                studies[uid] = _Study(uid)
        return studies

    def _lock_series(
        self, studies: Mapping[str, _Study], wanted: set[tuple[str, str]]
    ) -> dict[tuple[str, str], _Series]:
        by_id = {study.id: study for study in studies.values() if study.id}
        found: dict[tuple[str, str], _Series] = {}
        if by_id:
            of_uid, uids = among(self._dialect, "uid", sorted({series for _, series in wanted}))
            of_study, ids = among(self._dialect, "study", sorted(by_id))
            for uid, study, *rest in self._session.rows(
                'SELECT uid, study, id, instances, "Modality", dictionary, speaker_uid, speaker, visible FROM series '
                f"WHERE {of_uid} AND {of_study} "
                f"ORDER BY uid, study{lock(self._dialect)}",
                (
                    uids,
                    ids,
                ),
            ):
                if study in by_id and (by_id[study].uid, uid) in wanted:
                    found[by_id[study].uid, uid] = _Series(uid, by_id[study], *rest)
        for study_uid, uid in sorted(wanted - found.keys()):
            found[study_uid, uid] = _Series(uid, studies[study_uid])
        return found

    def _listen(self, place: _Series) -> None:
        """Take from a series' new speaker, if there is one, what its row says and its study is told of it."""
        if place.dataset is None:
            return
        place.values, place.held = series_values(place.dataset), series_held(place.dataset)
        place.dataset = None
        before, place.modality = place.modality, place.values[_MODALITY]
        place.study.modalities.update(read_column(place.modality))
        place.revised = before not in ("", place.modality)

    def _write_series(self, place: _Series) -> None:
        """Write a series' row."""
        if not place.study.id:
            self._create_study(place.study)
        if place.id:
            self._show("series", place)
        counts = [place.instances, place.dictionary]
        if place.values is None:
            if place.id:
                self._session.run(_UPDATE_SERIES_COUNTS, [*counts, place.id])
            else:
                place.id = self._session.insert(
                    "series", ("study", "uid", "dictionary"), (place.study.id, place.uid, place.dictionary)
                )
            return
        speaker = [place.speaker, place.speaker_uid]
        if place.id:
            self._session.run(_UPDATE_SERIES, [*counts, *speaker, *place.values, place.id])
        else:
            place.id = self._session.insert(
                "series", _SERIES_ROW, [place.study.id, place.uid, 1, *counts, *speaker, *place.values]
            )
            place.visible = 1
        self._hold("series_held", place.id, place.held)
        place.values = None

    def _show(self, table: str, row: _Study | _Series) -> None:
        """Make a row visible or invisible, if it has become so; only then are indexes touched."""
        visible = int(row.instances > 0)
        if visible != row.visible:
            self._session.run(f"UPDATE {table} SET visible = ? WHERE id = ?", (visible, row.id))
            row.visible = visible

    def _hold(self, table: str, number: int, held: bytes) -> None:
        self._session.run(
            f"INSERT INTO {table} (id, data) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET data = excluded.data",
            (number, held),
        )

    def _create_study(self, study: _Study) -> None:
        """Insert the row of a study with its counts and what its speaker says."""
        study.whole = True
        if study.dataset is None:
            study.id = self._session.insert("study", ("uid",), (study.uid,))
            return
        values = study_values(study.dataset)
        self._settle_patient(study, values, study.dataset)
        study.id = self._session.insert(
            "study",
            _STUDY_ROW,
            [study.uid, study.patient, 1, *study.counts(), study.speaker, study.speaker_uid, *values],
        )
        study.visible = 1
        self._hold("study_held", study.id, study_held(study.dataset))
        study.dataset = None

    def _write_studies(self, studies: Iterable[_Study], revised: Iterable[_Study]) -> None:
        for study in revised:
            study.modalities = self._modalities(study)
        for study in studies:
            self._write_study(study)

    def _write_study(self, study: _Study) -> None:
        if study.whole:
            return
        self._show("study", study)
        if study.dataset is None:
            self._session.run(_UPDATE_STUDY_COUNTS, [*study.counts(), study.id])
            return
        values = study_values(study.dataset)
        self._session.run(_UPDATE_STUDY, [*study.counts(), study.speaker, study.speaker_uid, *values, study.id])
        self._hold("study_held", study.id, study_held(study.dataset))
        if study.instances:
            self._settle_patient(study, values, study.dataset)
        study.dataset = None

    def _settle_patient(self, study: _Study, values: Sequence[Any], dataset: Dataset) -> None:
        study.patient = patients.settle(
            self._session,
            study.id,
            study.patient,
            dict(zip(STUDY_FIELDS, values, strict=True)),
            patient_held(dataset),
            study.speaker_uid,
            study.speaker,
            study.spoke,
        )

    def _modalities(self, study: _Study) -> set[str]:
        rows = self._session.rows(
            'SELECT DISTINCT "Modality" FROM series WHERE study = ? AND instances > 0', (study.id,)
        )
        return {value for row in rows for value in read_column(row[0])}

    def _write_dictionaries(self, dictionaries: Mapping[int, tuple[_Series, bytes]]) -> None:
        for number, (place, text) in dictionaries.items():
            self._session.run(
                "INSERT INTO dictionary (id, series, data) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (number, place.id, write_zlib(text)),
            )
