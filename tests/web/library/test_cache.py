from __future__ import annotations

import threading
import time

import pytest

from cfcam.web.library.cache import Cache


def test_what_was_used_last_stays_and_the_limit_holds():
    cache, made = Cache(10), []

    def get(key: str, size: int = 4) -> str:
        return cache.get(key, lambda: made.append(key) or key, lambda _: size)

    get("a"), get("b"), get("a"), get("c")  # 12 bytes: b goes
    assert cache.size == 8
    get("a"), get("c")
    assert made == ["a", "b", "c"]
    get("b")
    assert made == ["a", "b", "c", "b"]


def test_a_value_larger_than_the_whole_cache_stays_as_long_as_it_is_the_last():
    cache, made = Cache(1), []
    for key in ("a", "a", "b", "a"):
        cache.get(key, lambda key=key: made.append(key), lambda _: 5)
    assert made == ["a", "b", "a"]


def test_of_several_who_ask_one_makes_the_value():
    cache, made = Cache(10), []

    def make() -> str:
        time.sleep(0.05)
        made.append(1)
        return "x"

    threads = [threading.Thread(target=cache.get, args=("a", make, len)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_an_error_is_passed_on_and_not_kept():
    cache = Cache(10)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0, lambda _: 1)
    assert cache.get("a", lambda: 2, lambda _: 1) == 2
    cache.drop("a")
    assert "a" not in cache
