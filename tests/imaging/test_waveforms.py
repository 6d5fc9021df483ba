"""Waveforms as arrays and as drawings."""

import io
import re
from typing import Any

import numpy as np
import pytest
from defusedxml import ElementTree
from documents import bulk, group, waveform
from PIL import Image
from pydicom.dataset import Dataset
from realdata import real

from dicomweb.errors import Undecodable
from dicomweb.imaging import samples, tracings, waveforms
from dicomweb.standard.elements import Limits
from dicomweb.standard.part10 import read_object

LEADS = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"]
SVG = "{http://www.w3.org/2000/svg}"


def beats(channels: int, seconds: float = 10, frequency: int = 500) -> Any:
    """A spike of one millivolt every second, in microvolts, a little later in each channel."""
    taken = np.zeros((int(seconds * frequency), channels), "<i2")
    for channel in range(channels):
        taken[frequency // 2 + channel :: frequency, channel] = 1000
    return taken


def read(ds: Dataset) -> list[samples.Group]:
    return samples.read(*bulk(ds))


def drawn(ds: Dataset, **how: Any) -> Any:
    dataset, values = bulk(ds)
    return ElementTree.fromstring(tracings.svg(dataset, values, **how), forbid_dtd=True)


def words(drawing: Any) -> str:
    return " ".join(element.text or "" for element in drawing.iter(f"{SVG}text"))


@pytest.mark.parametrize("kind", ["i1", "u1", "<i2", "<u2", "<i4", "<u4"])
def test_samples_are_read_as_wide_and_signed_as_they_are(kind):
    info = np.iinfo(kind)
    taken = np.array([[info.min, 1], [info.max, 2], [7, 3]], kind)
    (found,) = read(waveform(group(taken, 100, ["A", "B"], "mV")))
    assert [channel.values.tolist() for channel in found.channels] == taken.T.astype(float).tolist()


def test_sensitivity_correction_baseline_and_units_are_applied():
    item = group(np.array([[10], [-20]], "<i2"), 100, ["Lead II"], "uV")
    channel = item.ChannelDefinitionSequence[0]
    channel.ChannelSensitivity, channel.ChannelSensitivityCorrectionFactor = "2.5", "2"
    channel.ChannelBaseline = "1000"
    (found,) = read(waveform(item))
    assert found.channels[0].values.tolist() == pytest.approx([1.05, 0.9])
    assert (found.channels[0].unit, found.channels[0].lead) == ("mV", "II")


def test_padding_is_no_sample():
    item = group(np.array([[1], [-32768], [3]], "<i2"), 100, ["A"], "mV")
    item.add_new(0x5400100A, "OW", np.int16(-32768).tobytes())
    (found,) = read(waveform(item))
    assert np.isnan(found.channels[0].values).tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("kind", "samples", "loud"),
    [
        ("MB", [0xFF, 0x7F, 0x80, 0x00, 0xF0], [0, 0, 8031 / 8031, -1, 30 / 8031]),
        ("AB", [0xD5, 0x55, 0xAA, 0x2A, 0xC5], [1 / 4032, -1 / 4032, 1, -1, 33 / 4032]),
    ],
)
def test_the_laws_of_telephony_are_undone(kind, samples, loud):
    # the unit of `group` is a microvolt, which the channel gives in millivolts
    item = group(np.array(samples, "u1").reshape(-1, 1), 8000, ["Voice"], WaveformSampleInterpretation=kind)
    (found,) = read(waveform(item, sop_class="1.2.840.10008.5.1.4.1.1.9.4.1"))
    assert found.channels[0].values.tolist() == pytest.approx([value / 1000 for value in loud])


def test_a_group_that_cannot_be_read_is_passed_over_and_none_at_all_is_refused():
    strange = group(beats(1), 500, ["A"], WaveformBitsAllocated=24, WaveformSampleInterpretation="XX")
    assert len(read(waveform(strange, group(beats(1), 500, ["A"])))) == 1
    for broken in (strange, group(beats(1), 0, ["A"]), group(beats(1)[:1], 500, ["A"])):
        with pytest.raises(Undecodable):
            read(waveform(broken))
    dataset, _ = bulk(waveform(group(beats(12), 500, LEADS)))
    with pytest.raises(Undecodable):
        samples.read(dataset, {})


def test_of_a_long_recording_only_the_beginning_is_asked_for():
    dataset, _ = bulk(waveform(group(beats(3, 10), 500, ["A", "B", "C"], NumberOfWaveformSamples=500 * 86400)))
    assert waveforms.wanted(dataset) == {"54000100/0/54001010": 60 * 500 * 3 * 2}
    drawing = drawn(waveform(group(beats(3, 10), 500, ["A", "B", "C"], NumberOfWaveformSamples=500 * 86400)))
    assert "24 h 0 min" in words(drawing)
    assert "the first 10 s" in words(drawing)


def test_twelve_leads_stand_as_on_paper():
    drawing = drawn(waveform(group(beats(12), 500, [f"Lead {lead}" for lead in LEADS])))
    labels = [element.text for element in drawing.iter(f"{SVG}text") if element.get("font-weight") == "bold"]
    assert labels[1:] == ["I", "aVR", "V1", "V4", "II", "aVL", "V2", "V5", "III", "aVF", "V3", "V6", "II"]
    assert "25 mm/s" in words(drawing)
    assert "10 mm/mV" in words(drawing)


def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five():
    drawing = tracings.drawing(*bulk(waveform(group(beats(12), 500, LEADS))))
    rhythm = max(drawing.traces, key=len)
    assert np.ptp(rhythm[:, 1]) == 1000
    peaks = rhythm[rhythm[:, 1] == rhythm[:, 1].min(), 0]
    assert np.diff(peaks).tolist() == pytest.approx([2500] * 9, abs=7)


def test_narrow_peaks_survive_when_samples_are_dense():
    taken = np.zeros((4000 * 2, 1), "<i2")
    taken[4321] = 2000
    drawing = tracings.drawing(*bulk(waveform(group(taken, 3999, ["A"]))))
    (trace,) = drawing.traces
    assert np.ptp(trace[:, 1]) == 2000
    assert len(trace) < 1000


def test_limb_leads_that_were_not_stored_are_computed():
    eight = ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    taken = np.zeros((5000, 8), "<i2")
    taken[:, 0], taken[:, 1] = 1000, 3000
    (found,) = read(waveform(group(taken, 500, eight)))
    leads = tracings._leads(found)
    assert {name: round(float(leads[name].values[0]), 6) for name in ("III", "aVR", "aVL", "aVF")} == {
        "III": 2.0, "aVR": -2.0, "aVL": -0.5, "aVF": 2.5,
    }  # fmt: skip


def test_pressures_have_their_scale_written_beside_them():
    pressure = (80 + 40 * np.sin(np.arange(2000) / 40)).astype("<i2").reshape(-1, 1)
    drawing = drawn(waveform(group(pressure, 200, ["ART"], "mm[Hg]"), sop_class="1.2.840.10008.5.1.4.1.1.9.2.1"))
    assert "ART" in words(drawing)
    assert re.findall(r"(\d+) mmHg", words(drawing)) == ["20", "80", "140"]


def test_sound_is_one_curve():
    taken = (100 * np.sin(np.arange(16000) / 5)).astype("i1").reshape(-1, 1)
    drawing = tracings.drawing(
        *bulk(waveform(group(taken, 8000, ["Voice"]), sop_class="1.2.840.10008.5.1.4.1.1.9.4.1"))
    )
    assert len(drawing.traces) == 1
    assert len(drawing.traces[0]) < 5000


def test_a_drawing_names_nobody_unless_asked_to():
    ds = waveform(group(beats(12), 500, LEADS), PatientName="Doe^Jane", PatientID="P77")
    assert not re.search("Doe|P77|Jane", words(drawn(ds)))
    assert "Doe, Jane · ID P77" in words(drawn(ds, patient=True))


def test_labels_of_a_stranger_are_text():
    labels = ["<script>x</script>"[:16], 'a"b\x1b&']
    ds = waveform(group(beats(2), 500, labels, MultiplexGroupLabel="</text>"), PatientName="<script>")
    drawing = drawn(ds, patient=True)
    assert {element.tag.removeprefix(SVG) for element in drawing.iter()} <= {
        "svg", "title", "defs", "pattern", "path", "rect", "g", "text",
    }  # fmt: skip
    assert "<script>x</scrip" in words(drawing)
    assert "</text> · 25 mm/s" in words(drawing)


def test_points_are_bounded_whatever_comes():
    noise = np.random.default_rng(7).integers(-900, 900, (60 * 1000, 64)).astype("<i2")
    dataset, values = bulk(waveform(group(noise, 1000, [f"C{n}" for n in range(64)])))
    assert len(tracings.svg(dataset, values)) < 6_000_000
    assert tracings.drawing(dataset, values).height < 3000


def test_a_png_fits_where_it_is_asked_to():
    dataset, values = bulk(waveform(group(beats(12), 500, LEADS)))
    for width, height in ((256, 256), (1600, 400), (100, 2000)):
        with Image.open(io.BytesIO(tracings.png(dataset, values, width, height))) as picture:
            assert picture.size[0] <= width
            assert picture.size[1] <= height
            assert picture.size[0] == width or picture.size[1] == height
            assert picture.convert("L").getextrema()[0] < 100


def test_a_thumbnail_is_small_and_has_no_words():
    dataset, values = bulk(waveform(group(beats(12), 500, LEADS), PatientName="Doe^Jane"))
    data = tracings.png(dataset, values, 256, 256, patient=True, words=False)
    assert len(data) < 12_000
    assert data == tracings.png(dataset, values, 256, 256, words=False)


def test_a_real_ecg_is_drawn_with_what_the_device_measured():
    data = real("pydicom/pydicom__waveform_ecg.dcm").read_bytes()
    found = read_object(data, Limits())
    wanted = waveforms.wanted(found.dataset)
    values = {path: bytes(data[found.layout.bulk[path].start :][:size]) for path, size in wanted.items()}
    drawing = ElementTree.fromstring(tracings.svg(found.dataset, values))
    for text in ("12-lead ECG", "2013-01-25 10:59:19", "RITMO SINUSALE", "QRS Duration 75 ms", "aVF", "0.05–300 Hz"):
        assert text in words(drawing)
    rhythm, median = samples.read(found.dataset, values)
    assert [channel.lead for channel in rhythm.channels] == LEADS
    assert (rhythm.seconds, median.seconds) == (10, 1.2)
