"""Rows of a search from the ids that SQL selected: what is held of each entity and of those above it."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from dicomweb.index import Row
from dicomweb.index.codes import Codes
from dicomweb.index.forms import read_column
from dicomweb.index.rows import ONLINE, element_of, instance_dataset
from dicomweb.index.schema import INSTANCE_COLUMNS
from dicomweb.index.session import Session, SqlRow, among
from dicomweb.standard.attributes import Level

_NUMBERS = ", ".join(f'"{attribute.keyword}"' for attribute in INSTANCE_COLUMNS)


class Results:
    """Puts rows together.

    Args:
        codes: texts of SOP classes and transfer syntaxes.
    """

    def __init__(self, codes: Codes) -> None:
        self._codes = codes

    def rows(self, session: Session, level: Level, found: Sequence[SqlRow]) -> list[Row]:
        """Return the results for ids as `search.page` selects them, in their order.

        What was deleted since is left out.
        """
        if not found:
            return []
        if level == "patient":
            patients = self._patients(session, {row[0] for row in found})
            return [patients[row[0]] for row in found if row[0] in patients]
        if level == "study":
            studies = self._studies(session, {row[0] for row in found})
            return [studies[row[0]] for row in found if row[0] in studies]
        studies = self._studies(session, {row[sql_study] for row in found for sql_study in (_STUDY[level],)})
        if level == "series":
            series = self._series(session, {row[0] for row in found}, studies)
            return [series[row[0]] for row in found if row[0] in series]
        series = self._series(session, {row[1] for row in found}, studies)
        instances = self._instances(session, [row[0] for row in found], series)
        return [instances[row[0]] for row in found if row[0] in instances]

    def _patients(self, session: Session, ids: Iterable[int]) -> dict[int, Row]:
        of_patient, chosen = among(session.dialect, "patient", sorted(ids))
        of_id, _ = among(session.dialect, "id", sorted(ids))
        related = {
            row[0]: row[1:]
            for row in session.rows(
                "SELECT patient, count(*), CAST(sum(series) AS bigint), CAST(sum(instances) AS bigint) FROM study "
                f"WHERE instances > 0 AND {of_patient} GROUP BY patient",
                (chosen,),
            )
        }
        rows = {}
        for number, speaker, held in session.rows(f"SELECT id, speaker, held FROM patient WHERE {of_id}", (chosen,)):
            if number in related:
                dataset = orjson.loads(held)
                for keyword, value in zip(_RELATED_TO_PATIENT, related[number], strict=True):
                    tag, element = element_of(keyword, [value])
                    dataset[tag] = element
                rows[number] = Row("patient", "", "", "", speaker, dataset)
        return rows

    def _studies(self, session: Session, ids: Iterable[int]) -> dict[int, Row]:
        condition, value = among(session.dialect, "id", sorted(ids))
        rows = {}
        for number, uid, speaker, modalities, classes, series, instances, held in session.rows(
            "SELECT id, uid, speaker, modalities, classes, series, instances, data "
            "FROM study JOIN study_held USING (id) "
            f"WHERE instances > 0 AND {condition}",
            (value,),
        ):
            dataset: dict[str, Any] = orjson.loads(held)
            dataset["00080056"] = ONLINE
            dataset["00080061"] = _list("CS", modalities)
            dataset["00080062"] = _list("UI", classes)
            dataset["00201206"] = {"vr": "IS", "Value": [series]}
            dataset["00201208"] = {"vr": "IS", "Value": [instances]}
            rows[number] = Row("study", uid, "", "", speaker, dataset)
        return rows

    def _series(self, session: Session, ids: Iterable[int], studies: dict[int, Row]) -> dict[int, Row]:
        condition, value = among(session.dialect, "id", sorted(ids))
        rows = {}
        for number, study, uid, speaker, instances, held in session.rows(
            "SELECT id, study, uid, speaker, instances, data FROM series JOIN series_held USING (id) "
            f"WHERE instances > 0 AND {condition}",
            (value,),
        ):
            above = studies.get(study)
            if above is not None:
                dataset = above.dataset | orjson.loads(held)
                dataset["00201209"] = {"vr": "IS", "Value": [instances]}
                rows[number] = Row("series", above.study, uid, "", speaker, dataset)
        return rows

    def _instances(self, session: Session, versions: Sequence[int], series: dict[int, Row]) -> dict[int, Row]:
        condition, value = among(session.dialect, "version", versions)
        found = session.rows(
            f"SELECT version, series, uid, class, syntax, held, {_NUMBERS} FROM instance WHERE {condition}",
            (value,),
        )
        texts = self._codes.texts(session, {code for row in found for code in row[3:5]})
        rows = {}
        for version, place, uid, kind, syntax, held, *numbers in found:
            above = series.get(place)
            if above is not None:
                own = instance_dataset(texts[kind], uid, texts[syntax], numbers, held)
                rows[version] = Row("instance", above.study, above.series, uid, version, above.dataset | own)
        return rows


_STUDY: dict[Level, int] = {"series": 1, "instance": 2}
_RELATED_TO_PATIENT = (
    "NumberOfPatientRelatedStudies",
    "NumberOfPatientRelatedSeries",
    "NumberOfPatientRelatedInstances",
)


def _list(vr: str, column: str) -> dict[str, Any]:
    values = read_column(column)
    return {"vr": vr, "Value": values} if values else {"vr": vr}
