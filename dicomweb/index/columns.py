"""Which table and column an attribute has (see `schema`), in the words of a search's SQL."""

from typing import Literal, TypeAlias

from dicomweb.standard.attributes import Attribute, Level

Alias: TypeAlias = Literal["pt", "st", "se", "ins"]

ALIAS: dict[Level, Alias] = {"patient": "pt", "study": "st", "series": "se", "instance": "ins"}

# Attributes that have no column of the schema's making: identities, codes, lists and counts.
UIDS: dict[str, str] = {
    "StudyInstanceUID": "st.uid",
    "SeriesInstanceUID": "se.uid",
    "SOPInstanceUID": "ins.uid",
}
CODES: dict[str, str] = {"SOPClassUID": "ins.class", "AvailableTransferSyntaxUID": "ins.syntax"}
LISTS: dict[str, str] = {"ModalitiesInStudy": "st.modalities", "SOPClassesInStudy": "st.classes"}
_OF_PATIENT = "FROM study x WHERE x.patient = pt.id AND x.instances > 0)"
COUNTS: dict[str, str] = {
    "NumberOfPatientRelatedStudies": f"(SELECT count(*) {_OF_PATIENT}",
    "NumberOfPatientRelatedSeries": f"(SELECT CAST(sum(x.series) AS bigint) {_OF_PATIENT}",
    "NumberOfPatientRelatedInstances": f"(SELECT CAST(sum(x.instances) AS bigint) {_OF_PATIENT}",
    "NumberOfStudyRelatedSeries": "st.series",
    "NumberOfStudyRelatedInstances": "st.instances",
    "NumberOfSeriesRelatedInstances": "se.instances",
}


def column_of(level: Level, attribute: Attribute) -> tuple[Alias, str]:
    """Return the table and column of an attribute; those of the patient stand with each study too, where they are
    looked for when studies or what is below them is searched (PS3.4 C.6.2.1.2)."""
    alias = ALIAS[attribute.level]
    if alias == "pt" and level != "patient":
        alias = "st"
    return alias, f'{alias}."{attribute.keyword}"'
