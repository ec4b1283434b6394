import pytest

from pedro_bench.data.answers import first_line, match_candidate


def test_first_line_skips_blank_lines():
    assert first_line("\n  yes it is \nno") == "yes it is"
    assert first_line("  ") == ""


@pytest.mark.parametrize("text", ["yes", " Yes.", "YES!\nno", '"yes"'])
def test_candidate_is_recognised(text):
    assert match_candidate(text, ("no", "yes")) == "yes"


@pytest.mark.parametrize("text", ["yes and no", "ye", "", "maybe yes", "yesno"])
def test_nothing_is_guessed(text):
    assert match_candidate(text, ("no", "yes")) == text


def test_choices_keep_their_own_spelling():
    assert match_candidate("the SUN rose", ("The sun rose.", "It rained.")) == "The sun rose."
