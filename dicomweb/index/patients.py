"""Rows of `patient`: one for each Patient ID and issuer that a visible study has, speaking with the words of the
study whose speaker has the lowest SOP Instance UID."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from dicomweb.index.rows import patient_held
from dicomweb.index.schema import PATIENT_COLUMNS
from dicomweb.index.session import Session, lock

_NAMES = tuple(attribute.keyword for attribute in PATIENT_COLUMNS)
_FIELDS = ", ".join(f'"{name}"' for name in _NAMES)
_ID = _NAMES.index("PatientID")
_ISSUER = _NAMES.index("IssuerOfPatientID")
_ASSIGNED = ", ".join(f'"{name}" = ?' for name in _NAMES)
_SPEAK = f"UPDATE patient SET {_ASSIGNED}, held = ?, speaker = ?, speaker_uid = ?"


def settle(
    session: Session,
    study: int,
    patient: int,
    columns: Mapping[str, Any],
    held: bytes,
    speaker_uid: str,
    speaker: int,
    spoke: int,
) -> int:
    """Bring a study to the patient that its attributes name, and let it speak for the patient if it is its turn.

    Args:
        study: id; its row is written already. 0 is a study that has none yet and gets it with its patient.
        patient: id of the patient that it belonged to, or 0.
        columns: values of the study, by name.
        held: attributes of the patient, as `patient` holds them.
        speaker_uid, speaker: of the study, now.
        spoke: the study's speaker before.

    Returns:
        The id of its patient.
    """
    values = [columns[name] for name in _NAMES]
    # Shared: others may add studies of this patient, but none may find it without studies.
    found = session.rows(
        'SELECT id, speaker_uid, speaker FROM patient WHERE "PatientID" = ? AND "IssuerOfPatientID" = ?'
        + lock(session.dialect, "KEY SHARE"),
        (values[_ID], values[_ISSUER]),
    )
    if not found:
        names = (*_NAMES, "held", "speaker", "speaker_uid")
        own = session.insert("patient", names, [*values, held, speaker, speaker_uid])
        _belong(session, study, own, patient)
        return own
    ((own, lowest, speaking),) = found
    if own != patient:
        _belong(session, study, own, patient)
    if speaker_uid < lowest:
        _speak(session, values, held, speaker, speaker_uid, own, " AND speaker_uid > ?", (speaker_uid,))
    elif speaking == spoke != speaker:
        recompute(session, own)
    return own


def _belong(session: Session, study: int, patient: int, before: int) -> None:
    if study:
        session.run("UPDATE study SET patient = ? WHERE id = ?", (patient, study))
    recompute(session, before)


def _speak(
    session: Session,
    values: Iterable[Any],
    held: bytes,
    speaker: int,
    speaker_uid: str,
    patient: int,
    condition: str = "",
    more: tuple[Any, ...] = (),
) -> None:
    session.run(
        f"{_SPEAK} WHERE id = ?{condition}",
        [*values, held, speaker, speaker_uid, patient, *more],
    )


def recompute(session: Session, patient: int) -> None:
    """Let the study with the lowest speaker speak for a patient after another has gone; drop the patient when it
    has no visible study. 0 is no patient."""
    if not patient:
        return
    session.rows(f"SELECT id FROM patient WHERE id = ?{lock(session.dialect)}", (patient,))
    found = session.rows(
        f"SELECT {_FIELDS}, data, speaker, speaker_uid FROM study JOIN study_held USING (id) "
        "WHERE patient = ? AND instances > 0 "
        "ORDER BY speaker_uid LIMIT 1",
        (patient,),
    )
    if not found:
        session.run("DELETE FROM patient WHERE id = ?", (patient,))
        return
    *values, held, speaker, speaker_uid = found[0]
    _speak(session, values, patient_held(orjson.loads(held)), speaker, speaker_uid, patient)
