"""Texts for CLIP: a closed vocabulary of words, and the longest text that fits.

Needs no torch: a plan checks every text by the same rules before a job starts.
"""

import difflib
import re
import textwrap
import unicodedata

from nada.run.errors import UserError

QUOTED = 80  # characters of a text that an error message shows
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
BLANKS_AND_PUNCTUATION = ("Z", "P")  # Unicode's general categories; both are ignored


def split_words(text: str) -> list[str]:
    """The words of a text, lower case, without punctuation."""
    return WORD.findall(_composed(text))


def unread(text: str) -> str:
    """Characters that are neither words, blanks nor punctuation, each once: '🐶', '$', '+'."""
    rest = WORD.sub("", _composed(text))
    ignored = (c.isspace() or unicodedata.category(c)[0] in BLANKS_AND_PUNCTUATION for c in rest)
    return "".join(dict.fromkeys(c for c, skip in zip(rest, ignored, strict=True) if not skip))


def _composed(text: str) -> str:
    """Lower case, with accents composed (Unicode's form NFC)."""
    return unicodedata.normalize("NFC", text.lower())


class Vocabulary:
    """Maps whole words to ids, for a closed vocabulary of a few dozen words.

    Ids: 0 pads, 1 starts a text, 2… are `words` in their order, and the largest id ends a text,
    because open_clip pools a text at the position of its largest id.
    context_length: largest number of ids of a text, including start and end.
    """

    PAD, START, FIRST_WORD = 0, 1, 2
    unit = "words"  # what an id stands for

    def __init__(self, words: list[str], context_length: int):
        if len(set(words)) != len(words):
            raise UserError("the tokenizer's word list holds a word twice; list every word once.")
        self.words = list(words)
        self.known = {word: i for i, word in enumerate(self.words, start=self.FIRST_WORD)}
        self.end = self.FIRST_WORD + len(self.words)
        self.context_length = context_length

    @property
    def vocab_size(self) -> int:
        """Number of ids: the words, padding, start and end."""
        return self.end + 1

    def encode(self, text: str) -> list[int]:
        """The ids of a text's words, without start and end; case and punctuation are ignored.

        Raises UserError for a word outside the vocabulary, and for other characters.
        """
        if signs := unread(text):
            raise UserError(
                f"the text '{quoted(text)}' holds '{signs}', which is neither a word nor "
                "punctuation; leave it out, or write it as a word."
            )
        return [self._id(word, text) for word in split_words(text)]

    def ids(self, text: str) -> list[int]:
        """The ids of a text, with start and end. Raises UserError as `encode` and `check_room` do."""
        return [self.START, *check_room(self, text), self.end]

    def _id(self, word: str, text: str) -> int:
        if word in self.known:
            return self.known[word]
        near = difflib.get_close_matches(word, self.words, n=3)
        hint = f"did you mean {' or '.join(map(repr, near))}? It" if near else "it"
        raise UserError(
            f"the word '{word}' of the text '{quoted(text)}' is not in this CLIP's vocabulary; {hint} "
            f"knows: {', '.join(sorted(self.words))}."
        )


def check_room(tokenizer, text: str) -> list[int]:
    """The ids of a text without start and end, all of which fit into the tokenizer's context.

    tokenizer: a Vocabulary, or another with `encode` and `context_length` (open_clip's). Raises
    UserError for a text that is longer than the context (open_clip would cut it), one that is read
    as nothing, and one that holds the mark of a text's start or end.
    """
    tokens = tokenizer.encode(text)
    unit = getattr(tokenizer, "unit", "tokens")
    check_length(text, len(tokens), tokenizer.context_length, f"{len(tokens)} {unit}")
    if not tokens:
        raise UserError(f"the text '{quoted(text)}' holds no word that CLIP reads; write one.")
    if set(tokens) & set(getattr(tokenizer, "all_special_ids", ())):
        raise UserError(
            f"the text '{quoted(text)}' holds the mark of a text's start or end; leave that out."
        )
    return tokens


def check_length(text: str, count: int, context_length: int, has: str) -> None:
    """Raise UserError if `count` ids do not fit between start and end; has: the count as text."""
    room = context_length - 2
    if count > room:
        raise UserError(
            f"the text '{quoted(text)}' has {has}, but this CLIP reads {room}; shorten it."
        )


def fewest_tokens(text: str) -> int:
    """A lower bound of the number of byte-pair tokens of a text, without open_clip's tokenizer.

    Each run of letters and each digit is at least one token. Only plain ASCII is counted: open_clip
    first repairs other characters, and reads an & as the start of an HTML entity.
    """
    return len(re.findall(r"[A-Za-z]+|[0-9]", text)) if text.isascii() and "&" not in text else 0


def quoted(text: str) -> str:
    """A text for an error message, shortened to QUOTED characters."""
    return textwrap.shorten(text, QUOTED, placeholder=" …") if len(text) > QUOTED else text
