"""The cache on disk: any damage is a miss, and nothing but a miss."""

from __future__ import annotations

import errno
import multiprocessing
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lossc.runtime.cache import MAGIC, Cache, cache_enabled, cache_folder, cache_key

KEY = cache_key(["source", "options"])
OTHER = cache_key(["other source", "options"])
PAYLOAD = bytes(range(256)) * 5


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "programs")


def entry_of(cache: Cache, key: str) -> Path:
    (path,) = cache.folder.glob(f"*/{key}")
    return path


def test_what_was_put_is_got(cache: Cache) -> None:
    cache.put(KEY, PAYLOAD)
    cache.put(OTHER, b"")
    assert cache.get(KEY) == PAYLOAD
    assert cache.get(OTHER) == b""
    assert Cache(cache.folder).get(KEY) == PAYLOAD


def test_an_unknown_key_is_a_miss(cache: Cache) -> None:
    assert cache.get(KEY) is None


def test_a_second_put_replaces_the_first(cache: Cache) -> None:
    cache.put(KEY, b"old")
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"


def test_keys_depend_on_every_part_and_its_borders() -> None:
    lists = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], ["c", "ab"], ["ab", "d"], []]
    assert len({cache_key(parts) for parts in lists}) == len(lists)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def truncate_into_checksum(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: len(MAGIC) + 7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def other_version(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"cache 1", b"cache 0", 1))


def garbage(path: Path) -> None:
    path.write_bytes(b"\xff" * 4096)


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


def pipe_instead(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link_to_foreign_file(path: Path) -> None:
    whole = path.read_bytes()
    foreign = path.parent / "foreign"
    foreign.write_bytes(whole)
    path.unlink()
    path.symlink_to(foreign)


def dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "nowhere")


DAMAGES = [
    truncate, truncate_into_checksum, empty, append, other_version, garbage, folder_instead, pipe_instead,
    link_to_foreign_file, dangling_link,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_entry_is_a_miss_and_heals(cache: Cache, damage: Callable[[Path], None]) -> None:
    cache.put(KEY, PAYLOAD)
    damage(entry_of(cache, KEY))
    assert cache.get(KEY) is None
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) == (None if damage is folder_instead else PAYLOAD)


def test_every_single_flipped_bit_is_noticed(cache: Cache) -> None:
    cache.put(KEY, b"a kernel")
    path = entry_of(cache, KEY)
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        assert cache.get(KEY) is None, f"bit {bit}"


def test_an_entry_under_another_key_is_a_miss(cache: Cache) -> None:
    cache.put(KEY, PAYLOAD)
    cache.put(OTHER, b"other")
    entry_of(cache, KEY).replace(entry_of(cache, OTHER))
    assert cache.get(OTHER) is None


def test_a_replaced_link_leaves_its_target_alone(cache: Cache) -> None:
    cache.put(KEY, PAYLOAD)
    link_to_foreign_file(entry_of(cache, KEY))
    cache.put(KEY, b"new")
    assert cache.get(KEY) == b"new"
    assert (entry_of(cache, KEY).parent / "foreign").read_bytes().endswith(PAYLOAD)


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "programs").write_text("not a folder")
    cache = Cache(tmp_path / "programs")
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) is None


@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EBUSY])
def test_a_write_that_fails_leaves_the_old_entry_and_no_other_file(
    cache: Cache, monkeypatch: pytest.MonkeyPatch, call: str, error: int
) -> None:
    cache.put(KEY, PAYLOAD)

    def fail(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        cache.put(KEY, b"new")
        cache.put(OTHER, b"new")
        if call == "open":
            assert cache.get(KEY) is None
    assert cache.get(KEY) == PAYLOAD
    assert cache.get(OTHER) is None
    assert [path.name for path in cache.folder.glob("*/*")] == [KEY]


def test_a_folder_that_cannot_be_made(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(Path, "mkdir", fail)
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) is None
    assert not cache.folder.exists()


def test_the_folder_stays_below_its_limit_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "programs", limit=64 * 1024)
    keys = [cache_key([str(number)]) for number in range(40)]
    for number, key in enumerate(keys):
        cache.put(key, bytes(4096))
        stamp = time.time() - 4000 + number
        os.utime(entry_of(cache, key), (stamp, stamp))
        assert cache.get(keys[0]) is not None, "the first is used all the time"
    kept = list(cache.folder.glob("*/*"))
    assert sum(path.stat().st_size for path in kept) <= cache.limit
    assert cache.get(keys[-1]) is not None
    assert cache.get(keys[1]) is None


def test_what_is_larger_than_the_limit_is_not_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "programs", limit=1000)
    cache.put(KEY, bytes(1000))
    assert cache.get(KEY) is None
    assert not list(tmp_path.glob("programs/*/*"))


def test_leftovers_of_killed_writers_go(cache: Cache) -> None:
    folder = cache.folder / KEY[:2]
    folder.mkdir(parents=True)
    old, fresh = folder / ".killed", folder / ".writing"
    for path in (old, fresh):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    cache.put(KEY, PAYLOAD)
    assert not old.exists()
    assert fresh.exists()
    assert cache.get(KEY) == PAYLOAD


def write_and_read(folder: str, seed: int) -> int:
    cache = Cache(Path(folder), limit=200_000)
    wrong = 0
    for number in range(200):
        key = cache_key([str((number * 7 + seed) % 50)])
        payload = key.encode() * 100
        found = cache.get(key)
        wrong += found is not None and found != payload
        cache.put(key, payload)
    return wrong


def test_many_processes_share_one_cold_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(4) as pool:
        wrong = pool.starmap(write_and_read, [(str(tmp_path / "programs"), seed) for seed in range(8)])
    assert wrong == [0] * 8


@pytest.mark.parametrize(("value", "enabled"), [("0", False), ("off", False), ("No", False), ("1", True), ("", True)])
def test_the_switch(monkeypatch: pytest.MonkeyPatch, value: str, enabled: bool) -> None:
    monkeypatch.setenv("LOSSC_CACHE", value)
    assert cache_enabled() is enabled


def test_the_folder_is_the_users_choice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOSSC_CACHE_DIR", str(tmp_path))
    assert cache_folder("programs") == tmp_path / "programs"
    monkeypatch.delenv("LOSSC_CACHE_DIR")
    assert cache_folder("programs").parent.name == "lossc"


def test_a_home_of_nobody_is_a_folder_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOSSC_CACHE_DIR", "~nobody-of-that-name/x")
    cache = Cache(cache_folder("programs"))
    cache.put(KEY, PAYLOAD)
    assert cache.get(KEY) == PAYLOAD
    assert cache.folder == Path("~nobody-of-that-name/x/programs")
