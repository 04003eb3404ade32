from __future__ import annotations

import asyncio
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as PILImage

from cfcam.web.guard.headers import CONTENT_SECURITY_POLICY
from cfcam.web.server import listening
from tests.web.server import client_of, served, settings_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("pictures")
    for n in range(3):
        PILImage.fromarray(np.full((20 + n, 30), 10 * n, np.uint8)).save(found / f"scan{n}.png")
    (found / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    return found


@pytest.fixture(scope="module")
def client(folder):
    with client_of(settings_of(folder)) as found:
        yield found


def ids(client) -> dict[str, str]:
    return {one["name"]: one["id"] for one in client.get("/api/studies").json()["studies"]}


def test_a_folder_is_listed_without_being_read_and_its_studies_keep_their_ids(client, folder):
    listed = client.get("/api/studies").json()
    assert listed["total"] == 4
    assert {one["shape"] for one in map(dict, listed["studies"])} == {None}
    with client_of(settings_of(folder)) as another:
        assert ids(another) == ids(client)


def test_a_picture_is_seen_before_torch_is_imported(folder):
    code = (
        "import sys\n"
        "from tests.web.server import client_of, settings_of\n"
        "with client_of(settings_of(sys.argv[1], load=lambda: 1 / 0, model='demo')) as client:\n"
        "    for study in client.get('/api/studies').json()['studies']:\n"
        "        for what in ('', '/original.nii', '/picture.png', '/thumbnail.png'):\n"
        "            client.get(f\"/api/studies/{study['id']}{what}\")\n"
        "    client.get('/api/info').raise_for_status()\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_a_part_of_the_list_is_had_by_offset_text_and_order(client):
    assert [one["name"] for one in client.get("/api/studies?offset=1&limit=2").json()["studies"]] == [
        "scan0.png", "scan1.png"
    ]  # fmt: skip
    found = client.get("/api/studies", params={"text": "SCAN2"}).json()
    assert (found["total"], found["studies"][0]["name"]) == (1, "scan2.png")


def test_what_cannot_be_read_is_told_in_one_line_without_its_path(client, folder):
    for what in ("", "/original.nii", "/picture.png", "/thumbnail.png"):
        answer = client.get(f"/api/studies/{ids(client)['broken.png']}{what}")
        assert answer.status_code == 422
        assert answer.json()["error"].startswith("broken.png: ")
        assert str(folder) not in answer.text


def test_a_file_is_sent_once_and_then_only_asked_for(client):
    where = f"/api/studies/{ids(client)['scan1.png']}/original.nii"
    first = client.get(where)
    assert len(first.content) == int(first.headers["content-length"]) == 352 + 21 * 30
    again = client.get(where, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_every_answer_has_the_headers_that_keep_the_page_to_itself(client):
    for where in ("/", "/api/studies", "/nothing", "/static/vendor/LICENSE", "/api/studies/s-000000000000"):
        headers = client.get(where).headers
        assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
        assert "server" not in headers


@pytest.mark.parametrize(
    ("method", "where", "status"),
    [
        ("GET", "/nothing", 404),
        ("DELETE", "/api/studies", 405),
        ("GET", "/api/studies/s-000000000000", 404),
        ("GET", "/api/studies/..%2f..%2fetc%2fpasswd", 404),
        ("GET", "/api/studies/%2e%2e", 422),
        ("GET", "/static/../../../../etc/passwd", 404),
        ("GET", "/static/%2e%2e/%2e%2e/app.py", 404),
        ("GET", "/api/studies?limit=0", 422),
    ],
)
def test_what_is_not_there_is_told_in_one_line(client, method, where, status):
    answer = client.request(method, where)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert "\n" not in answer.json()["error"]


def test_the_viewer_answers_at_a_port_of_this_machine(folder):
    with served(settings_of(folder)) as viewer:
        assert viewer.client.get("/api/studies").json()["total"] == 4
        assert "server" not in viewer.client.get("/").headers


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_beginning():
    """Of what listens, asyncio makes connections that send at once; of a plain socket it does not."""

    async def no_delay() -> int:
        found = asyncio.get_running_loop().create_future()
        with listening("127.0.0.1", 0) as listener:
            server = await asyncio.start_server(lambda _, writer: found.set_result(writer), sock=listener)
            _, client = await asyncio.open_connection(*listener.getsockname())
            writer = await found
            option: int = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            for one in (client, writer):
                one.close()
            server.close()
        return option

    assert asyncio.run(no_delay()) == 1
