"""How many requests are answered at a time: one too many is told when to come again, and memory stays flat."""

from __future__ import annotations

import asyncio
import gc
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cfcam.web.guard.crowd import Count, Crowd
from tests.web.server import served, settings_of


def test_of_more_than_the_most_the_last_is_told_to_come_again_and_then_there_is_room():
    async def tried() -> list[int]:
        statuses, going = [], asyncio.Event()

        async def app(scope, receive, send):
            await going.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message):
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
                if message["status"] == 503:
                    assert (b"retry-after", b"1") in message["headers"]

        count = Count()
        crowd = Crowd(app, most=2, count=count)
        scope = {"type": "http", "headers": []}
        first = [asyncio.create_task(crowd(scope, None, send)) for _ in range(2)]
        await asyncio.sleep(0)
        await crowd(scope, None, send)
        going.set()
        await asyncio.gather(*first)
        await crowd(scope, None, send)
        assert count.at_work == 0
        return statuses

    assert asyncio.run(tried()) == [503, 200, 200, 200]


def test_one_that_is_stopped_makes_room():
    async def tried() -> int:
        async def app(scope, receive, send):
            await asyncio.sleep(60)

        count = Count()
        crowd = Crowd(app, most=1, count=count)
        task = asyncio.create_task(crowd({"type": "http", "headers": []}, None, None))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return count.at_work

    assert asyncio.run(tried()) == 0


def test_of_a_thousand_requests_not_one_object_each_stays(tmp_path):
    for n in range(20):
        Image.fromarray(np.full((64, 64), n, np.uint8)).save(tmp_path / f"{n}.png")

    def held() -> tuple[int, float]:
        """Python's blocks, and MB of the process."""
        gc.collect()
        pages = Path("/proc/self/statm")
        resident = int(pages.read_text().split()[1]) * resource.getpagesize() if pages.exists() else 0
        return sys.getallocatedblocks(), resident / 2**20

    with served(settings_of(tmp_path)) as viewer:
        ids = [one["id"] for one in viewer.client.get("/api/studies").json()["studies"]]

        def ask(count: int) -> None:
            wheres = ("original.nii", "thumbnail.png", "maps/m-000000000000.nii", "nothing", "picture.png")
            for n in range(count):
                where = f"/api/studies/{ids[n % 20]}/{wheres[n % 5]}"
                assert viewer.client.get(where).status_code == (404 if n % 5 in (2, 3) else 200)

        ask(200)
        before = held()
        ask(1000)
        after = held()
        assert after[0] - before[0] < 1000
        assert after[1] - before[1] < 4
