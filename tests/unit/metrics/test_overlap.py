import pytest

from pedro_bench.metrics.overlap import longest_common_subsequence, rouge_l, words


def test_words_are_runs_of_letters_and_digits():
    assert words("It's 3 o'clock_now, Ée!") == ["it", "s", "3", "o", "clock", "now", "ée"]


@pytest.mark.parametrize(
    ("first", "second", "length"),
    [("abcbdab", "bdcaba", 4), ("abc", "abc", 3), ("abc", "cba", 1), ("", "abc", 0)],
)
def test_longest_common_subsequence(first, second, length):
    assert longest_common_subsequence(list(first), list(second)) == length


def test_rouge_l_by_hand():
    # subsequence "police the gunman": P = 3/4, R = 3/4 (Lin 2004, section 3)
    assert rouge_l("police kill the gunman", "police killed the gunman") == pytest.approx(0.75)
    assert rouge_l("the gunman kill police", "police killed the gunman") == pytest.approx(0.5)


def test_texts_without_words():
    assert rouge_l("", "") == 1.0
    assert rouge_l("...", "word") == 0.0
