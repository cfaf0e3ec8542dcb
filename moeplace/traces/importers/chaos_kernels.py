"""A compiled reader of one query of the Chaos data set; import only from inside functions.

Places in the text are unsigned, so that no index is checked for being negative, and the text ends
in zeros, so that no place is checked for being behind the end. Such a file
is mostly white space, and a layer or step differs from the one before in its ids only: what lies
between the ids is compared with what lay there, eight bytes at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

PADDING = 64  # zeros that the text must end in
SPACE, LINE_END, RETURN, TAB = 32, 10, 13, 9
QUOTE, COMMA, COLON = 34, 44, 58
OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT = 91, 93, 123, 125
ZERO, LETTER_N, LETTER_U, LETTER_L = 48, 110, 117, 108
LARGEST_ID = 65_534
STRANGE = -1  # status: the file is not as regular as this reader wants it
ONE, TWO, THREE, FOUR, EIGHT = (np.uint64(n) for n in (1, 2, 3, 4, 8))
NONE = np.uint64(0)


def words_of(text: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a view of `text`: for each place but the last seven, the eight bytes from there on."""
    return np.ndarray((text.size - 7,), np.uint64, text, strides=(1,))


@njit(cache=True, nogil=True)
def _skip(text: NDArray[np.uint8], at: np.uint64) -> np.uint64:
    """Return the place behind the white space."""
    if text[at] > SPACE:
        return at
    if text[at] == LINE_END:
        at += ONE
    while (
        (text[at] ^ SPACE)
        | (text[at + ONE] ^ SPACE)
        | (text[at + TWO] ^ SPACE)
        | (text[at + THREE] ^ SPACE)
    ) == 0:
        at += FOUR
    byte = text[at]
    while byte in (SPACE, LINE_END, RETURN, TAB):
        at += ONE
        byte = text[at]
    return at


@njit(cache=True, nogil=True)
def _row(
    text: NDArray[np.uint8],
    at: np.uint64,
    ids: NDArray[np.uint16],
    count: int,
    stamps: NDArray[np.int64],
    stamp: int,
) -> tuple[int, np.uint64]:
    """Read `id, id, ...]` from the first digit on; return the new count and place."""
    while True:
        first = np.int64(text[at]) - ZERO
        if first < 0 or first > 9:
            return STRANGE, at
        second = np.int64(text[at + ONE]) - ZERO
        third = np.int64(text[at + ONE + ONE]) - ZERO
        # One to three digits without a branch; more are rare.
        two = np.int64(second >= 0) & np.int64(second <= 9)
        three = two & np.int64(third >= 0) & np.int64(third <= 9)
        value = first + two * (first * 9 + second)
        value += three * (value * 9 + third)
        at += np.uint64(1 + two + three)
        if three:
            while text[at] >= ZERO and text[at] <= ZERO + 9:
                value = value * 10 + (np.int64(text[at]) - ZERO)
                at += ONE
                if value > LARGEST_ID:
                    return STRANGE, at
        if (first == 0 and two) or stamps[value] == stamp:
            return STRANGE, at
        stamps[value] = stamp
        ids[count] = value
        count += 1
        if text[at] == COMMA:
            at = _skip(text, at + ONE)
        else:
            at = _skip(text, at)
            if text[at] != CLOSE_LIST:
                return STRANGE, at
            return count, at + ONE


@njit(cache=True, nogil=True)
def _rows(
    text: NDArray[np.uint8],
    at: np.uint64,
    ids: NDArray[np.uint16],
    count: int,
    stamps: NDArray[np.int64],
    stamp: int,
    width: int,
) -> tuple[int, np.uint64, int, int]:
    """Read the rows of a layer from `[` on; return the count, place, rows and their width."""
    rows = 0
    at = _skip(text, at + ONE)
    while True:
        if text[at] != OPEN_LIST:
            return STRANGE, at, rows, width
        at = _skip(text, at + ONE)
        after, at = _row(text, at, ids, count, stamps, stamp + rows)
        if width < 0:
            width = after - count
        if after - count != width or after == STRANGE:
            return STRANGE, at, rows, width
        count = after
        rows += 1
        if text[at] == COMMA:
            at = _skip(text, at + ONE)
        else:
            at = _skip(text, at)
            if text[at] != CLOSE_LIST:
                return STRANGE, at, rows, width
            return count, at + ONE, rows, width


@njit(cache=True, nogil=True)
def _find_gaps(
    text: NDArray[np.uint8], at: np.uint64, end: np.uint64, gaps: NDArray[np.uint64]
) -> int:
    """Note where the text between ids starts and how long it is; return the number of ids."""
    number, quoted = 0, False
    gaps[0, 0] = at
    while at < end:
        byte = text[at]
        if byte == QUOTE:
            quoted = not quoted
        if quoted or byte < ZERO or byte > ZERO + 9:
            at += ONE
            continue
        gaps[number, 1] = at - gaps[number, 0]
        number += 1
        while text[at] >= ZERO and text[at] <= ZERO + 9:
            at += ONE
        if number == gaps.shape[0]:
            return STRANGE
        gaps[number, 0] = at
    gaps[number, 1] = end - gaps[number, 0]
    return number


@njit(cache=True, nogil=True)
def _read_alike(
    text: NDArray[np.uint8],
    words: NDArray[np.uint64],
    at: np.uint64,
    gaps: NDArray[np.uint64],
    number: int,
    width: int,
    ids: NDArray[np.uint16],
    count: int,
    stamps: NDArray[np.int64],
    stamp: int,
) -> tuple[int, np.uint64]:
    """Read `number` ids with these gaps around them; return the new count and place.

    Anything else than these gaps is `STRANGE`, which does not say that it is wrong.
    """
    end = np.uint64(text.size - PADDING)
    in_row = 0
    for i in range(number + 1):
        old, length = gaps[i, 0], gaps[i, 1]
        if at + length > end:
            return STRANGE, at
        differs = NONE
        if length >= EIGHT:
            last = length - EIGHT
            differs = words[old + last] ^ words[at + last]
            for j in range(NONE, last, EIGHT):
                differs |= words[old + np.uint64(j)] ^ words[at + np.uint64(j)]
        else:
            for j in range(NONE, length):
                differs |= np.uint64(text[old + np.uint64(j)] ^ text[at + np.uint64(j)])
        if differs != NONE:
            return STRANGE, at
        at += length
        if i == number:
            break
        first = np.int64(text[at]) - ZERO
        second = np.int64(text[at + ONE]) - ZERO
        third = np.int64(text[at + TWO]) - ZERO
        two = np.int64(second >= 0) & np.int64(second <= 9)
        three = two & np.int64(third >= 0) & np.int64(third <= 9)
        value = first + two * (first * 9 + second)
        value += three * (value * 9 + third)
        at += np.uint64(1 + two + three)
        # A fourth digit is no gap, so an id of four is left to the other reader.
        if first < 0 or first > 9 or (first == 0 and two) or stamps[value] == stamp:
            return STRANGE, at
        stamps[value] = stamp
        ids[count] = value
        count += 1
        in_row += 1
        if in_row == width:
            in_row = 0
            stamp += 1
    return count, at


@njit(cache=True, nogil=True)
def read_query(
    text: NDArray[np.uint8],
    words: NDArray[np.uint64],
    gaps: NDArray[np.uint64],
    ids: NDArray[np.uint16],
    keys: NDArray[np.int64],
    stamps: NDArray[np.int64],
    shape: NDArray[np.int64],
) -> int:
    """Read the regular form of a query: the same layers in the same order in every step.

    Parameters
    ----------
    text
        The bytes of the file and `PADDING` zeros.
    words
        `words_of(text)`.
    gaps
        (any, 2) work space; steps with as many ids are read slowly.
    ids
        Filled with the ids in the order of the file; half as long as `text` at least.
    keys
        Filled with the layer ids of the first step, those that are null as −2 − id.
    stamps
        (65,536,) work space: −1 everywhere at first, later as it was left.
    shape
        Filled with: steps, layers with rows, prefill rows, experts a row, keys, ids, and the next
        stamp, which is 0 at first.

    Returns
    -------
    int
        0, or `STRANGE` for anything irregular: broken JSON, other keys in another step, rows of
        other lengths, an id twice in a row.
    """
    size = np.uint64(text.size - PADDING)
    steps, layers, prompt, width, known, count, stamp = 0, 0, -1, -1, 0, 0, int(shape[6])
    at = _skip(text, NONE)
    if text[at] != OPEN_LIST:
        return STRANGE
    more_steps, alike = True, 0  # ids between the gaps that are known
    while more_steps:
        at = _skip(text, at + ONE)
        if text[at] != OPEN_OBJECT:
            return STRANGE
        if steps > 1 and alike > 0:
            after, place = _read_alike(
                text, words, at, gaps, alike, width, ids, count, stamps, stamp
            )
            stamp += layers
            shape[6] = stamp
            if after != STRANGE:
                count, steps = after, steps + 1
                at = _skip(text, place)
                more_steps = text[at] == COMMA
                continue
        start = at
        number = 0
        more_keys = True
        while more_keys:
            at = _skip(text, at + ONE)
            if text[at] != QUOTE:
                return STRANGE
            at += ONE
            layer, digits = 0, 0
            while text[at] >= ZERO and text[at] <= ZERO + 9 and digits < 6:
                layer = layer * 10 + int(text[at]) - ZERO
                digits += 1
                at += ONE
            if digits == 0 or text[at] != QUOTE:
                return STRANGE
            at = _skip(text, at + ONE)
            if text[at] != COLON:
                return STRANGE
            at = _skip(text, at + ONE)
            is_null = text[at] == LETTER_N
            code = -2 - layer if is_null else layer
            if steps == 0:
                if number >= keys.size:
                    return STRANGE
                keys[number] = code
                known = number + 1
                if not is_null:
                    layers += 1
            elif number >= known or keys[number] != code:
                return STRANGE
            number += 1
            if is_null:
                for letter in (LETTER_U, LETTER_L, LETTER_L):
                    at += ONE
                    if text[at] != letter:
                        return STRANGE
                at += ONE
            elif text[at] != OPEN_LIST:
                return STRANGE
            else:
                after, place, rows, before = STRANGE, at, prompt, count
                if steps == 0 and alike > 0:
                    after, place = _read_alike(
                        text, words, at, gaps, alike, width, ids, count, stamps, stamp
                    )
                    stamp += prompt
                if after == STRANGE:
                    after, place, rows, width = _rows(text, at, ids, count, stamps, stamp, width)
                    stamp += rows
                    if steps == 0 and before == 0 and after != STRANGE:
                        alike = _find_gaps(text, at, place, gaps)
                count, at = after, place
                shape[6] = stamp
                if count == STRANGE or (steps > 0 and rows != 1):
                    return STRANGE
                if prompt < 0:
                    prompt = rows
                if steps == 0 and rows != prompt:
                    return STRANGE
            at = _skip(text, at)
            more_keys = text[at] == COMMA
        if text[at] != CLOSE_OBJECT or number != known:
            return STRANGE
        at += ONE
        if steps == 1:
            alike = _find_gaps(text, start, at, gaps)
        steps += 1
        at = _skip(text, at)
        more_steps = text[at] == COMMA
    if text[at] != CLOSE_LIST:
        return STRANGE
    at = _skip(text, at + ONE)
    shape[0], shape[1], shape[2], shape[3] = steps, layers, prompt, width
    shape[4], shape[5] = known, count
    return 0 if at == size and layers > 0 else STRANGE
