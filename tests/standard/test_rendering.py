"""Query parameters of rendered pictures: what is read, and what is refused with which sentence."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomweb.errors import BadRequest
from dicomweb.standard.rendering import Region, Rendering, Viewport, Window, read_rendering, read_wado_uri

JPEG, PNG, GIF = "image/jpeg", "image/png", "image/gif"


def read(media_type: str = JPEG, thumbnail: bool = False, state: bool = False, **parameters: str) -> Rendering:
    return read_rendering(parameters.items(), media_type, thumbnail, state=state)


def uri(**parameters: str):
    return read_wado_uri(parameters.items(), JPEG)


def test_without_parameters_nothing_is_asked_for():
    assert read() == Rendering(JPEG)
    assert read(accept="image/jpeg", somethingElse="x") == Rendering(JPEG)


@pytest.mark.parametrize(
    ("text", "viewport"),
    [
        ("512,256", Viewport(512, 256)),
        (" 512 , 256 ", Viewport(512, 256)),
        ("512,256,10,20", Viewport(512, 256, 10, 20)),
        ("512,256,-10,-20.5", Viewport(512, 256, 10, 20.5)),
        ("512,256,10,20,100,200", Viewport(512, 256, 10, 20, 100, 200)),
        ("512,256,,,-100,200", Viewport(512, 256, 0, 0, 100, 200, mirrored=True)),
        ("512,256,,,100,-200", Viewport(512, 256, 0, 0, 100, 200, upturned=True)),
        ("512,256,,,,-200", Viewport(512, 256, 0, 0, None, 200, upturned=True)),
        ("512,256,,,-100", Viewport(512, 256, 0, 0, 100, None, mirrored=True)),
        ("8,8,+1.5e1", Viewport(8, 8, 15)),
    ],
)
def test_viewports_have_a_size_and_maybe_a_region_whose_signs_flip(text, viewport):
    assert read(viewport=text).viewport == viewport


@pytest.mark.parametrize(
    "text",
    ["", ",", "512", "512,", "0,0", "0,5", "-5,5", "5.5,5", "a,b", "512,256,", "512,256,1,", "1,1,1,1,1,1,1",
     "512,256,x,1", "512,256,nan,1", "512,256,1,1,0,5", "512,256,1,1,5,0", "1000000,1000000", "99999999999,1", "٣,٣"],
)  # fmt: skip
def test_other_viewports_are_refused_in_a_sentence_that_names_them(text):
    with pytest.raises(BadRequest, match="viewport"):
        read(viewport=text)


def test_the_limit_of_a_viewport_is_handed_in():
    assert read_rendering([("viewport", "10,10")], JPEG, most_pixels=100).viewport == Viewport(10, 10)
    with pytest.raises(BadRequest, match="more than 99 pixels"):
        read_rendering([("viewport", "10,10")], JPEG, most_pixels=99)


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("40,400,linear", Window(40, 400, "LINEAR")),
        ("-600.5,1500,linear-exact", Window(-600.5, 1500, "LINEAR_EXACT")),
        ("0.5,0.25,sigmoid", Window(0.5, 0.25, "SIGMOID")),
        ("40,1,linear", Window(40, 1, "LINEAR")),
    ],
)
def test_windows_have_center_width_and_function(text, window):
    assert read(window=text).window == window


@pytest.mark.parametrize(
    "text",
    ["", "40", "40,400", "40,400,", "40,400,LINEAR", "40,400,linear_exact", "40,400,linear,1", ",400,linear",
     "40,,linear", "40,0,linear", "40,0.5,linear", "40,0,linear-exact", "40,-1,sigmoid", "nan,1,linear",
     "1,inf,sigmoid", "0x10,5,linear", "1e40,5,linear"],
)  # fmt: skip
def test_other_windows_are_refused(text):
    with pytest.raises(BadRequest, match="window"):
        read(window=text)


@pytest.mark.parametrize(("text", "quality"), [("1", 1), ("100", 100), ("75", 75)])
def test_quality_goes_from_1_to_100(text, quality):
    assert read(quality=text).quality == quality


@pytest.mark.parametrize("text", ["", "0", "101", "-1", "50.5", "best", "1e1"])
def test_other_qualities_are_refused(text):
    with pytest.raises(BadRequest, match="quality must be a whole number from 1 to 100"):
        read(quality=text)


@pytest.mark.parametrize("space", ["no", "yes", "srgb", "adobergb", "rommrgb"])
def test_profiles_go_into_jpeg_and_png(space):
    assert read(JPEG, iccprofile=space).iccprofile == space
    assert read(PNG, iccprofile=space).iccprofile == space


def test_a_type_without_profiles_takes_no_other_value_than_no():
    assert read(GIF, iccprofile="no").iccprofile == "no"
    with pytest.raises(BadRequest, match="no ICC profile can be put into image/gif"):
        read(GIF, iccprofile="yes")


@pytest.mark.parametrize("text", ["", "YES", "true", "displayp3"])
def test_unknown_profiles_are_refused(text):
    with pytest.raises(BadRequest, match="iccprofile"):
        read(iccprofile=text)


def test_annotations_are_keywords_of_which_unknown_ones_are_warned_about():
    assert read(annotation="technique,patient").annotation == ("patient", "technique")
    assert read(annotation="patient").warnings == ()
    asked = read(annotation="patient,foo,bar,foo")
    assert asked.annotation == ("patient",)
    assert asked.warnings == ("The following annotation values are not supported: foo, bar",)


@pytest.mark.parametrize("text", ["", "patient,", "pa tient", "1", "<b>", "x" * 80])
def test_annotations_that_are_no_keywords_are_refused(text):
    with pytest.raises(BadRequest, match="annotation must be a list of keywords"):
        read(annotation=text)


def test_sixteen_bits_are_for_types_that_have_them():
    assert read(PNG, bits="16").deep
    assert not read(PNG, bits="8").deep
    with pytest.raises(BadRequest, match="image/jpeg cannot have 16 bits"):
        read(JPEG, bits="16")
    with pytest.raises(BadRequest, match="bits must be 8 or 16"):
        read(PNG, bits="12")


def test_thumbnails_know_width_and_height_alone():
    assert read(thumbnail=True) == Rendering(JPEG, thumbnail=True)
    assert read(thumbnail=True, viewport="64,32", window="nonsense").viewport == Viewport(64, 32)
    with pytest.raises(BadRequest, match="only be width and height"):
        read(thumbnail=True, viewport="64,32,1,1")


def test_presentation_states_have_windows_and_regions_of_their_own():
    assert read(state=True, viewport="64,32").viewport == Viewport(64, 32)
    with pytest.raises(BadRequest, match="only be width and height"):
        read(state=True, viewport="64,32,1,1")
    with pytest.raises(BadRequest, match="window does not go with a presentation state"):
        read(state=True, window="40,400,linear")


def test_a_parameter_may_be_there_twice_if_it_says_the_same():
    assert read_rendering([("quality", "5"), ("quality", "5")], JPEG).quality == 5
    with pytest.raises(BadRequest, match="quality is there more than once"):
        read_rendering([("quality", "5"), ("quality", "6")], JPEG)


@given(st.text(max_size=20), st.sampled_from(["viewport", "window", "quality", "annotation", "iccprofile", "bits"]))
def test_whatever_is_asked_is_read_or_refused(text, name):
    try:
        rendering = read(PNG, **{name: text})
    except BadRequest:
        return
    assert pickle.loads(pickle.dumps(rendering)) == rendering
    assert hash(rendering) == hash(pickle.loads(pickle.dumps(rendering)))


# -- WADO-URI -----------------------------------------------------------------------------------------------


def test_wado_uri_without_parameters_asks_for_nothing():
    assert uri() == (None, Rendering(JPEG), None)


def test_wado_uri_has_names_of_its_own():
    frame, rendering, state = uri(
        frameNumber="3", imageQuality="80", rows="100", columns="200", region="0.1,0.2,0.5,1", windowCenter="40",
        windowWidth="400", annotation="patient", imageAnnotation="technique",
    )  # fmt: skip
    assert (frame, state) == (3, None)
    assert rendering == Rendering(
        JPEG, quality=80, region=Region(0.1, 0.2, 0.5, 1), most_columns=200, most_rows=100,
        window=Window(40, 400), annotation=("patient", "technique"),
    )  # fmt: skip


def test_one_side_alone_is_enough():
    assert uri(rows="100").rendering.most_rows == 100
    assert uri(columns="100").rendering.most_columns == 100


def test_a_presentation_state_is_named_by_series_and_instance():
    assert uri(presentationSeriesUID="1.2", presentationUID="1.3").state == ("1.2", "1.3")


@pytest.mark.parametrize(
    "parameters",
    [
        {"frameNumber": "0"}, {"frameNumber": "-1"}, {"frameNumber": "1,2"}, {"frameNumber": ""},
        {"rows": "0"}, {"columns": "x"}, {"rows": "1000000", "columns": "1000000"},
        {"windowCenter": "40"}, {"windowWidth": "400"}, {"windowCenter": "40", "windowWidth": "0"},
        {"windowCenter": "x", "windowWidth": "5"}, {"imageQuality": "0"}, {"region": "0,0,1"},
        {"region": "0,0,1,1.1"}, {"region": "0.5,0,0.5,1"}, {"region": "0,1,1,0"}, {"region": "nan,0,1,1"},
        {"presentationUID": "1.2"}, {"presentationSeriesUID": "1.2"},
        {"presentationUID": "x", "presentationSeriesUID": "1.2"},
        {"presentationUID": "1.2", "presentationSeriesUID": "1.3", "windowCenter": "1", "windowWidth": "2"},
        {"annotation": ""},
    ],
)  # fmt: skip
def test_wado_uri_refuses_what_is_malformed_or_does_not_go_together(parameters):
    with pytest.raises(BadRequest, match=next(iter(parameters))[:6]):
        uri(**parameters)
