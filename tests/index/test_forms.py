"""Forms of values in columns."""

from hypothesis import example, given
from hypothesis import strategies as st

from dicomweb.index.forms import LONGEST, storable, write_column
from dicomweb.standard.normal import comparable


@given(
    st.text(st.sampled_from(" \\\0\t\n!a[]Z^~\x7f\u00e9\ud800"), min_size=1, max_size=70),
    st.sampled_from(["LO", "LT", "UI"]),
)
@example("a" * 64, "LO")
@example("a" * 65, "LO")
@example("a b", "LT")
def test_plain_text_has_the_form_that_all_text_has(text: str, vr: str) -> None:
    form = storable(comparable(vr, text) or "")[:LONGEST]
    assert write_column("text", {"vr": vr, "Value": [text]}) == (form or "\\\\")
