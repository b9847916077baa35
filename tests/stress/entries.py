"""The containers of the chaos: one writer for each entry, readers of all entries, and what must hold meanwhile.

Each slot has entries of its own, of which its worker alone makes one version after the other: an odd version is a
value that tells which it is, an even one that there is none. The worker writes down which version it is about to make, and
which it has made. So anybody may look at any entry, and must find a version between the last that was made before the
look and the last that was begun after it; who comes after a dead worker finds what that one had made, or the version
it was at. Counts and the log are everybody's: nothing that was finished is missing there, and nothing is twice.
"""

import random
from collections.abc import Callable
from typing import Any

from cells import Cells

from procession import shared

KEYS = 6
KINDS = ("dict", "set", "list", "compared")
LOGGED = 300  # entries of the log by one slot, at most
SIZES = (0, 1, 10, 100, 1000, 9000)


class Compared:
    """A key of whose equality only this code knows; its hash is another in each process that was not forked."""

    def __init__(self, key: tuple[int, int], written: int) -> None:
        self.key, self.written = key, written

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compared) and self.key == other.key

    def __hash__(self) -> int:
        return hash(str(self.key))


def value(key: tuple[int, int], version: int) -> Any:
    """What a version is."""
    return key, version, str(version) * SIZES[version // 2 % len(SIZES)]


def version_of(found: Any) -> int:
    """Which version a value is; -1 when it is none."""
    key, version, _ = found
    return version if found == value(key, version) else -1


class Containers:
    """The containers, shared by all."""

    def __init__(self, slots: int) -> None:
        self.dict: Any = shared.dict()
        self.set: Any = shared.set()
        self.list: Any = shared.list([None] * (slots * KEYS))
        self.compared: Any = shared.dict()
        self.log: Any = shared.list()
        self.sums: Any = shared.dict(all=0)
        self.counter = shared.counter()
        self.slots = slots
        self.known = Cells(
            *(f"{kind}{what}" for kind in KINDS for what in ("begun", "made")), rows=slots * KEYS
        )
        self.logged = Cells("last", rows=slots)

    def close(self) -> None:
        """Before the arena is looked at."""
        self.known.close()
        self.logged.close()
        del self.dict, self.set, self.list, self.compared, self.log, self.sums, self.counter

    def acts(
        self, slot: int, chance: random.Random, count: Callable[[str], None], fault: Callable[[str], None]
    ) -> list[Any]:
        """What a worker may do."""
        self.take_over(slot, fault)

        def write() -> None:
            kind, at = chance.choice(KINDS), chance.randrange(KEYS)
            row = slot * KEYS + at
            version = self.known[row, f"{kind}made"] + (1 if kind == "set" else chance.choice((1, 2)))
            self.known[row, f"{kind}begun"] = version
            self.make(kind, (slot, at), version, chance)
            self.known[row, f"{kind}made"] = version

        def read() -> None:
            kind, key = chance.choice(KINDS), (chance.randrange(self.slots), chance.randrange(KEYS))
            self.look(kind, key, fault)

        def read_all() -> None:
            for key, found in self.dict.items():
                if found[0] != key or version_of(found) < 0:
                    fault(f"dict[{key}] is torn: {found[:2]}")
            for compared, found in self.compared.items():
                if found[0] != compared.key or version_of(found) < 0:
                    fault(f"compared[{compared.key}] is torn: {found[:2]}")

        def sum_up() -> None:
            count("sums_begun")
            self.sums.incr("all")
            self.counter += 1
            count("sums_done")

        def note() -> None:
            number = self.logged[slot, "last"] + 1
            if number <= LOGGED:
                self.logged[slot, "last"] = number
                count("log_begun")
                if chance.random() < 0.2:
                    self.log.insert(0, (slot, -number))
                else:
                    self.log.append((slot, number))
                count("log_done")

        return [write] * 6 + [read] * 4 + [sum_up] * 2 + [read_all, note]

    def make(self, kind: str, key: tuple[int, int], version: int, chance: random.Random) -> None:
        """An entry of its next version, in one of the ways that there are."""
        is_there = version % 2 == 1
        if kind == "set":
            (self.set.add if is_there else self.set.discard)(key)
        elif kind == "list":
            self.list[key[0] * KEYS + key[1]] = value(key, version) if is_there else None
        else:
            entries = self.dict if kind == "dict" else self.compared
            at = key if kind == "dict" else Compared(key, version)
            if not is_there:
                entries.pop(at, None)
            elif chance.random() < 0.5 or at not in entries:
                entries[at] = value(key, version)
            else:
                entries.update(at, lambda _: value(key, version))

    def find(self, kind: str, key: tuple[int, int]) -> Any:
        """What there is: None, True for a member of the set, or a value."""
        if kind == "set":
            return True if key in self.set else None
        if kind == "compared":
            return self.compared.get(Compared(key, 0))
        return self.dict.get(key) if kind == "dict" else self.list[key[0] * KEYS + key[1]]

    def look(self, kind: str, key: tuple[int, int], fault: Callable[[str], None]) -> None:
        row = key[0] * KEYS + key[1]
        first = self.known[row, f"{kind}made"]
        found = self.find(kind, key)
        last = self.known[row, f"{kind}begun"]
        if not any(self.is_version(found, version) for version in range(first, last + 1)):
            fault(
                f"{kind}[{key}]: found {found if found in (None, True) else found[:2]} between {first} and {last}"
            )

    @staticmethod
    def is_version(found: Any, version: int) -> bool:
        if found is None or found is True:
            return (found is None) == (version % 2 == 0)
        return version_of(found) == version

    def take_over(self, slot: int, fault: Callable[[str], None]) -> None:
        """What the slot's last worker had begun is made, or not begun."""
        for kind in KINDS:
            for at in range(KEYS):
                row, key = slot * KEYS + at, (slot, at)
                self.look(kind, key, fault)
                begun = self.known[row, f"{kind}begun"]
                if self.is_version(self.find(kind, key), begun):
                    self.known[row, f"{kind}made"] = begun

    def verdict(self, total: Callable[[str], int], kills: int, fail: Callable[[str], None]) -> None:
        """When all workers are gone."""
        for slot in range(self.slots):
            self.take_over(slot, fail)
        done, begun = total("sums_done"), total("sums_begun") + kills
        for name, found in (("dict", self.sums["all"]), ("counter", int(self.counter))):
            if not done <= found <= begun:
                fail(f"{name}: {found} counted, {done} done, {begun} begun")
        log = list(self.log)
        if not total("log_done") <= len(log) <= total("log_begun") + kills or len(set(log)) != len(log):
            fail(
                f"log: {len(log)}, {len(set(log))} different, {total('log_done')} done, {total('log_begun')} begun"
            )
        for slot in range(self.slots):
            own = [number for owner, number in log if owner == slot]
            if own != sorted(own):
                fail(f"log: out of order for {slot}: {own}")
        if len(self.dict) != sum(1 for _ in self.dict) or len(self.set) != len(set(self.set)):
            fail("a length is not what is there")
        keys = [compared.key for compared in self.compared]
        if not len(self.compared) == len(keys) == len(set(keys)):
            fail(f"compared keys: {len(self.compared)}, {len(keys)} there, {len(set(keys))} different")
