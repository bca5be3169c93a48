"""A byte mutator: files damaged in the ways in which disks, networks and tools damage them, made from a seed."""

import zlib
from collections.abc import Callable

import numpy as np

_MOST_CHANGES = 4
"""Most changes made to one input. Set by hand: a file with many changes is refused as a whole, and tests little."""

_LONGEST_RUN = 2048
"""Longest run of bytes that one change concerns, in bytes, a few sectors of a disk. Set by hand."""

Change = Callable[[bytearray, np.random.Generator, bytes, int, int], None]
"""Changes the bytes from a start to an end, with a generator and another file of the same format at hand."""


def _flip_bits(data: bytearray, draw: np.random.Generator, _: bytes, start: int, end: int) -> None:
    for place in draw.integers(start, end, int(draw.integers(1, 9))):
        data[place] ^= 1 << int(draw.integers(8))


def _overwrite(data: bytearray, draw: np.random.Generator, _: bytes, start: int, end: int) -> None:
    data[start:end] = draw.bytes(end - start)


def _clear(data: bytearray, _draw: np.random.Generator, _: bytes, start: int, end: int) -> None:
    data[start:end] = bytes(end - start)


def _remove(data: bytearray, _draw: np.random.Generator, _: bytes, start: int, end: int) -> None:
    del data[start:end]


def _double(data: bytearray, _draw: np.random.Generator, _: bytes, start: int, end: int) -> None:
    data[start:start] = data[start:end]


def _swap(data: bytearray, draw: np.random.Generator, _: bytes, start: int, end: int) -> None:
    length = end - start
    place = int(draw.integers(0, len(data) - length + 1))
    data[start:end], data[place : place + length] = data[place : place + length], data[start:end]


def _set_number(data: bytearray, draw: np.random.Generator, _: bytes, start: int, _end: int) -> None:
    # the limits of numbers of 1, 2, 4 and 8 bytes, which sizes and counts in headers have
    width = int(draw.choice([1, 2, 4, 8]))
    limits = [0, 1, 2 ** (8 * width - 1) - 1, 2 ** (8 * width - 1), 2 ** (8 * width) - 1]
    number = limits[int(draw.integers(len(limits)))]
    data[start : start + width] = number.to_bytes(width, "big" if draw.integers(2) else "little")


def _cut_off(data: bytearray, _draw: np.random.Generator, _: bytes, start: int, _end: int) -> None:
    del data[start:]


def _join(data: bytearray, _draw: np.random.Generator, other: bytes, _start: int, _end: int) -> None:
    data += other


def _continue_other(data: bytearray, _draw: np.random.Generator, other: bytes, start: int, _end: int) -> None:
    data[start:] = other[start:]


CHANGES: dict[str, Change] = {
    "bits flipped": _flip_bits,
    "overwritten": _overwrite,
    "zeroed": _clear,
    "removed": _remove,
    "doubled": _double,
    "swapped": _swap,
    "number set": _set_number,
    "cut off": _cut_off,
    "joined": _join,
    "continued by another": _continue_other,
}


def generator_of(name: str, seed: int) -> np.random.Generator:
    """The generator of the input with the number `seed` of the format `name`."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed])


def mutated(data: bytes, other: bytes, draw: np.random.Generator, body: tuple[int, int]) -> tuple[bytes, str]:
    """A damaged copy of `data`, and in words what was changed.

    `other` is another file of the format; `body` the first byte and the end of what is not header or index. Half of the
    inputs are damaged in the body alone, the others anywhere. Most changes are small, because small damage is
    found least easily.
    """
    changed, done = bytearray(data), []
    in_body = bool(draw.integers(2))
    for _ in range(int(draw.integers(1, _MOST_CHANGES + 1))):
        low, high = body if in_body else (0, len(changed))
        high = min(high, len(changed))
        if high - low < 2:
            break
        start = int(draw.integers(low, high))
        longest = min(_LONGEST_RUN, max(2, len(changed) // 8))
        end = min(high, start + int(2 ** draw.uniform(0, np.log2(longest))))
        kind = str(draw.choice(list(CHANGES)))
        if in_body and kind == "joined":
            continue
        CHANGES[kind](changed, draw, other, start, end)
        done.append(f"{kind} at {start}")
    return bytes(changed), ("body: " if in_body else "") + ", ".join(done)
