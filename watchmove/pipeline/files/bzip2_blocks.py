"""Unpacks a bzip2 file by several threads: its blocks, found by their first bits, do not depend on each other."""

import bz2
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

_BLOCK, _END = 0x314159265359, 0x177245385090
"""The 48 bits with which each block and the end of a bzip2 stream begin, at any bit of a byte."""
_HEAD = b"BZh9"
_LONGEST_BLOCK_BYTES = 2**21
"""Most bytes of a packed block, about twice as many as the format can give: a bound on memory."""
_THREADS = 2
"""Blocks that are unpacked at once, each to at most 47 MB by the format: a bound on memory. Set by hand; not tuned."""


def unpacked_blocks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the unpacked bytes of each block of a bzip2 file, whose packed bytes are `pieces`, in order.

    libbz2 unpacks each block as a stream of its own, and checks it as it does within a whole file.

    Raises:
        OSError, EOFError, ValueError: the file is damaged or truncated, or has the first bits of a block by chance in
            the midst of another, which only a reading from the start to the end can tell: once in 10^13 bytes.
    """
    waiting: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_THREADS) as threads:
        try:
            for block in _Blocks(pieces).as_streams():
                waiting.append(threads.submit(bz2.decompress, block))
                # waiting for the oldest bounds the memory that unpacked blocks take
                if len(waiting) > _THREADS:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # a consumer that stops early must not wait for blocks that have not begun
            threads.shutdown(wait=True, cancel_futures=True)


class _Blocks:
    """The bytes of a bzip2 file that are at hand, and the marks in them: the first bits of blocks and ends."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = (piece for piece in pieces if piece)
        self._bytes = bytearray()
        self._marks: deque[int] = deque()

    def as_streams(self) -> Iterator[bytes]:
        """Yield each block as a bzip2 stream that has no other."""
        while self._bytes or self._more():
            head = self._bits(0, 32).to_bytes(4)
            if head[:3] != _HEAD[:3] or not b"1" <= head[3:] <= b"9":
                raise OSError("Invalid data stream")
            at, combined = 32, 0
            while (kind := self._bits(at, 48)) == _BLOCK:
                end, checksum = self._next_mark(at), self._bits(at + 48, 32)
                yield _stream(self._bits(at, end - at), end - at, checksum)
                # of the whole stream: that of each block, after a rotation by one bit
                combined = ((combined << 1 | combined >> 31) & 0xFFFFFFFF) ^ checksum
                at = self._without(end)
            if kind != _END or self._bits(at + 48, 32) != combined:
                raise OSError("Invalid data stream")
            self._without(at + 80 + -(at + 80) % 8)  # the next stream begins with a byte

    def _bits(self, start: int, count: int) -> int:
        last = -(-(start + count) // 8)
        while len(self._bytes) < last:
            if not self._more():
                raise EOFError
        whole = int.from_bytes(self._bytes[start // 8 : last])
        return whole >> (last * 8 - start - count) & ((1 << count) - 1)

    def _next_mark(self, after: int) -> int:
        while True:
            while self._marks and self._marks[0] <= after:
                self._marks.popleft()
            if self._marks:
                return self._marks[0]
            if len(self._bytes) > _LONGEST_BLOCK_BYTES:
                raise OSError("Invalid data stream")
            if not self._more():
                raise EOFError

    def _more(self) -> bool:
        piece = next(self._pieces, b"")
        begin = max(0, len(self._bytes) - 6)  # a mark is in at most seven bytes
        self._bytes += piece
        newest = self._marks[-1] if self._marks else -1
        self._marks.extend(mark for mark in _marks(self._bytes, begin) if mark > newest)
        return bool(piece)

    def _without(self, bit: int) -> int:
        """Forget the bytes before a bit, and return its new number."""
        gone = bit // 8
        del self._bytes[:gone]
        self._marks = deque(mark - 8 * gone for mark in self._marks if mark >= 8 * gone)
        return bit - 8 * gone


def _marks(data: bytearray, begin: int) -> list[int]:
    """The numbers of the bits at which a block or an end begins, from the byte `begin` on, in order."""
    found: list[int] = []
    for mark in (_BLOCK, _END):
        for shift in range(8):
            # The five bytes in the middle are searched, and the bits before and after them compared.
            middle = (mark >> shift & 0xFFFFFFFFFF).to_bytes(5)
            at = data.find(middle, begin)
            while at >= 0:
                first = at * 8 + shift - 8
                if first >= 0 and _is_at(data, first, mark):
                    found.append(first)
                at = data.find(middle, at + 1)
    return sorted(found)


def _is_at(data: bytearray, first: int, mark: int) -> bool:
    window = int.from_bytes(data[first // 8 : first // 8 + 7].ljust(7, b"\0"))
    return window >> (8 - first % 8) & 0xFFFFFFFFFFFF == mark and len(data) * 8 >= first + 48


def _stream(bits: int, count: int, checksum: int) -> bytes:
    """A bzip2 stream of one block of `count` bits, whose checksum is then that of the stream too."""
    padding = -(count + 80) % 8
    whole = ((bits << 48 | _END) << 32 | checksum) << padding
    return _HEAD + whole.to_bytes((count + 80 + padding) // 8)
