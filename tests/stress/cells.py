"""Numbers that processes of the chaos share, beside what is tested."""

from procession import _native


class Cells:
    """Named 64-bit cells in shared memory, each read and written by one ordinary load or store."""

    def __init__(self, *names: str, rows: int = 1) -> None:
        self.memory = _native.Memory(8 * len(names) * rows)
        self._cells = memoryview(self.memory).cast("q")
        self._index = {name: index for index, name in enumerate(names)}
        self._width = len(names)

    def __getitem__(self, key: tuple[int, str]) -> int:
        return self._cells[key[0] * self._width + self._index[key[1]]]

    def __setitem__(self, key: tuple[int, str], value: int) -> None:
        self._cells[key[0] * self._width + self._index[key[1]]] = value

    def close(self) -> None:
        self._cells.release()
