import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from captcha_lib.alphabet import ANY, BLANK, Alphabet, named
from captcha_lib.config import InputError

characters = st.lists(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30, unique=True).map("".join)


@st.composite
def alphabets_and_texts(draw):
    alphabet = Alphabet(draw(characters))
    return alphabet, draw(st.lists(st.text(alphabet.characters, max_size=9), min_size=1, max_size=5))


@given(alphabets_and_texts())
def test_round_trip(case):
    alphabet, texts = case
    for text in texts:
        assert alphabet.decode(alphabet.encode(text)) == text


@given(alphabets_and_texts())
def test_round_trip_of_a_batch(case):
    alphabet, texts = case
    ids, lengths = alphabet.encode_batch(texts)
    assert lengths.tolist() == [len(text) for text in texts]
    assert [alphabet.decode(row) for row in ids] == texts


@given(alphabets_and_texts())
def test_no_character_is_the_blank(case):
    alphabet, texts = case
    for text in texts:
        ids = alphabet.encode(text)
        assert ((ids > BLANK) & (ids < alphabet.num_classes)).all()


def test_class_ids():
    alphabet = Alphabet("xby")
    ids = alphabet.encode("byxx")
    assert BLANK == 0
    assert ids.tolist() == [2, 3, 1, 1]
    assert ids.dtype == np.int64
    assert alphabet.num_classes == 4


def test_decoding_drops_blanks_and_keeps_equal_neighbours():
    assert Alphabet("abc").decode([0, 1, 1, 0, 3, 0]) == "aac"


def test_a_batch_is_padded_with_blanks():
    ids, lengths = Alphabet("abc").encode_batch(["cab", "", "b"])
    assert ids.tolist() == [[3, 1, 2], [0, 0, 0], [2, 0, 0]]
    assert lengths.tolist() == [3, 0, 1]


def test_a_character_that_is_not_known_is_one_class_more():
    ids, lengths = Alphabet("abc").encode_batch([f"a{ANY}c", f"{ANY}"])
    assert (ids.tolist(), lengths.tolist()) == ([[1, 4, 3], [4, 0, 0]], [3, 1])
    hebrew = Alphabet("\u05d0\u05d1")
    ids, _ = hebrew.encode_batch([f"\u05d0{ANY}\u05d1"])
    assert ids.tolist() == [[2, 3, 1]], "it runs the way of its neighbours"
    with pytest.raises(InputError, match="REPLACEMENT CHARACTER"):
        Alphabet("abc").encode(f"a{ANY}")


def test_alphabet_of_labels_is_sorted():
    assert Alphabet.of(["b82", "2bx"]) == Alphabet("28bx")


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: Alphabet(""), "empty"),
        (lambda: Alphabet.of([]), "empty"),
        (lambda: Alphabet("abca"), "duplicate character 'a'"),
        (lambda: Alphabet("ab").encode("abz"), "'z' is not in the alphabet 'ab'"),
        (lambda: Alphabet("ab").encode_batch(["ab", "B"]), "'B' is not in the alphabet"),
    ],
)
def test_errors(build, says):
    with pytest.raises(InputError, match=says):
        build()


@pytest.mark.parametrize(
    ("character", "said"),
    [("a", "'a'"), ("\u0430", "'\u0430' (CYRILLIC SMALL LETTER A)"), ("\ue000", "(without a name)")],
)
def test_characters_that_may_look_like_others_are_named(character, said):
    assert said in named(character)


RIGHT_TO_LEFT = {
    "אבג": "גבא",
    "אב12": "12בא",
    "12אב": "בא12",
    "א1ב": "ב1א",
    "سلام": "مالس",
    "ab": "ab",
    "אב-גד": "דג-בא",
}


@pytest.mark.parametrize("text", RIGHT_TO_LEFT)
def test_right_to_left_texts_are_learnt_as_they_are_written(text):
    alphabet = Alphabet.of([text])
    ids = alphabet.encode(text)
    assert "".join(alphabet.characters[i - 1] for i in ids) == RIGHT_TO_LEFT[text]
    assert alphabet.decode(ids) == text
